"""The part of the schema that real images fill: the dataset, the hits of every unit, and their statistics."""

from __future__ import annotations

from atlas_viewer.field import Attribute, Field, Group

KINDS = ("largest", "quantile", "smallest", "class")  # of hits, as pages show them
RULES = ("deconvnet", "guided", "gradient")  # back-projections, as pages show them
ZERO_BYTE = 128  # what a back-projection of zero is stored as

DATASET = Group(
    "/dataset",
    "the images that were looked at; which images they are follows from the digest, not from any path",
    (
        Attribute("name", "text", "name of the dataset"),
        Attribute("kind", "text", "how it is laid out: folder, list, tar, imagenet, doodles"),
        Attribute("digest", "text", "SHA-256 over keys, content hashes and labels of all its images, in hexadecimal"),
        Attribute("preprocess", "text", "how an image becomes the network's input: squash, short_side, resize, pad"),
        Attribute("reduced_decoding", "bool", "whether the decoder's own down-scaling was used"),
        Attribute("images", "int", "images that were looked at, without the skipped ones"),
        Attribute("skipped", "int", "images that could not be read"),
        Attribute("waiting", "int", "images that were not looked at yet", required=False),
        Attribute("pixels", "text", "stored, or pointers: keys, hashes and windows alone, pixels to be filled in"),
    ),
    (
        Field("classes", "text", ("class",), "names of the dataset's classes, by class number; empty without labels"),
        Field("class_ids", "text", ("class",), "what the dataset itself calls its classes: folders, wnids",
              required=False),
        Field("skipped_key", "text", ("skipped",), "keys of the images that could not be read"),
        Field("skipped_reason", "text", ("skipped",), "why each of them could not be read"),
    ),
    open=True,
    required=False,
)  # fmt: skip
IMAGES = Group(
    "/dataset/images",
    "every image that is a hit of a unit or the nearest to a synthetic picture, once, rising by number; others name an "
    "image by its row here",
    (),
    (
        Field("number", "i4", ("image",), "place of the image in the dataset, from 0, rising"),
        Field("key", "text", ("image",), "name of the image in the dataset, never a path of a machine"),
        Field("hash", "u1", ("image", "byte"), "SHA-256 of the file's bytes"),
        Field("label", "i4", ("image",), "class number; -1 where there is none"),
        Field("placement", "f4", ("image", "side"),
              "box of the original that the network's input shows: top, left, bottom, right; it may stick out, where "
              "the input is padded", "pixels of the original"),
        Field("size", "i4", ("image", "plane"), "size of the original, upright", "pixels of the original"),
        Field("pixels", "u1", ("image", "y", "x", "rgb"), "the network's input as true colours; absent for pointers",
              "pixel levels, 0 to 255", required=False),
    ),
    required=False,
)  # fmt: skip


def _back_projection(rule: str, meaning: str) -> tuple[Field, Field]:
    """The two datasets of one rule."""
    return (
        Field(rule, "u1", ("unit", "rank", "y", "x", "rgb"),
              f"{meaning}, cropped to the frame, zero outside the window; value = (byte - {ZERO_BYTE}) * scale, "
              "red, green, blue", "activation per pixel level / scale", required=False),
        Field(f"{rule}_scale", "f4", ("unit", "rank"), f"scale of {rule}; NaN where there is no back-projection",
              "activation per pixel level", required=False),
    )  # fmt: skip


TOPS = Group(
    "/layers/<layer>/tops/<kind>",
    "images of the dataset that stand for each unit, one position an image: largest (most exciting first), smallest "
    "(least exciting first), quantile (evenly spaced over the per-image maxima of a sample, from most to least), class "
    "(most exciting of the unit's own class)",
    (
        Attribute("kind", "text", "largest, smallest, quantile or class, the group's own name"),
        Attribute("measure", "text", "what an activation is: the value of which layer, before or after what"),
        Attribute("height", "int", "height of a frame in pixels: of the layer's whole window, at most the image's"),
        Attribute("width", "int", "width of a frame in pixels"),
        Attribute("lrn", "text",
                  "how deconvnet passes local response normalization: derivative, or ignore (as it is)",
                  required=False),
    ),
    (
        Field("image", "i4", ("unit", "rank"), "row of the image in /dataset/images; -1 where there is no hit"),
        Field("activation", "f4", ("unit", "rank"), "the unit's largest activation in the image", "activation"),
        Field("position", "i4", ("unit", "rank", "plane"), "where in the layer's map it is; -1 where there is no hit",
              "positions"),
        Field("window", "i4", ("unit", "rank", "side"),
              "pixels of the network's input that the position depends on, cut at the image's border; bottom and right "
              "are the first outside; -1 where there is no hit", "pixels"),
        Field("frame", "i4", ("unit", "rank", "plane"),
              "row and column of the network's input where the frame begins: that of the window where it may stick "
              "out of the image, so negative at near borders; 0 along a side where the frame is the whole image",
              "pixels"),
        Field("quantile", "f4", ("rank",), "quantile that each rank stands for, 1 the most; of kind quantile only",
              "share", required=False),
        *_back_projection("deconvnet", "what excited the unit, by the deconvnet rule (Zeiler & Fergus 2013)"),
        *_back_projection("guided", "what excited the unit, by guided backpropagation (Springenberg et al. 2014)"),
        *_back_projection("gradient", "derivative of the activation with respect to the pixels"),
        Field("reason", "text", ("unit",), "why back-projections of the unit are not there, or empty", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip


def _spread(what: str, over: str, required: bool) -> tuple[Field, ...]:
    """The datasets that say how one kind of values is spread."""

    def number(name: str, meaning: str, dtype: str = "f8", measure: str = "activation") -> Field:
        return Field(f"{what}_{name}", dtype, ("unit",), f"{meaning} {over}", measure, required)

    return (
        number("count", "how many values there are", "i8", "values"),
        number("mean", "mean"),
        number("variance", "variance (divided by the count)", measure="activation squared"),
        number("min", "least"),
        number("max", "most"),
        Field(f"{what}_histogram", "i8", ("unit", "bin"), f"how many values lie between neighbouring edges, {over}",
              "values", required),
        Field(f"{what}_quantiles", "f4", ("unit", "quantile"), f"quantiles, read off the histogram, {over}",
              "activation", required),
    )  # fmt: skip


STATISTICS = Group(
    "/layers/<layer>/statistics",
    "how each unit behaves over the whole dataset; of an image counts its largest activation, image_, or every "
    "position, position_",
    (
        Attribute("measure", "text", "what an activation is: the value of which layer, before or after what"),
        Attribute("twin_threshold", "float", "magnitude of the correlation from which on two units are twins"),
        Attribute("sample", "int", "images that correlations are taken over, chosen by hash", required=False),
    ),
    (
        *_spread("image", "of the per-image maxima", True),
        *_spread("position", "of the values at all positions of all images", False),
        Field("edge", "f4", ("edge",),
              "edges of the histograms' bins, rising, one more than bins: a fixed signed logarithmic grid; the "
              "outermost may be infinite", "activation"),
        Field("quantile", "f4", ("quantile",), "which quantiles are stored, rising", "share"),
        Field("active_images", "f8", ("unit",), "share of the images whose maximum is above zero", "share"),
        Field("active_positions", "f8", ("unit",), "share of the positions whose value is above zero", "share",
              required=False),
        Field("not_a_number", "i8", ("unit",), "images left out because a value was not a number", "images",
              required=False),
        Field("dead", "bool", ("unit",), "whether no image switched the unit on, or it never varies"),
        Field("never_varies", "bool", ("unit",), "whether the unit has one value everywhere"),
        Field("twin", "i4", ("unit",),
              "number of the unit whose per-image maxima go with this one's most, if their correlation reaches the "
              "threshold; -1 for none"),
        Field("twin_correlation", "f4", ("unit",),
              "correlation with the unit that goes with it most, twin or not; NaN where there is none"),
        Field("nearest", "i4", ("unit",), "number of that unit, twin or not; -1 for none", required=False),
        Field("class_mean", "f4", ("unit", "class"),
              "mean of the per-image maxima over each class of the dataset; NaN of a class without images",
              "activation", required=False),
        Field("class_count", "i8", ("class",), "images of each class", "images", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip
