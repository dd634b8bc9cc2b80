"""The part of the schema that the learned priors fill: pictures found in the code space of a generator."""

from __future__ import annotations

from atlas_viewer.field import Attribute, Field, Group

_SEARCH = (
    Attribute("prior", "text", "true name of the prior whose codes were searched"),
    Attribute("prior_digest", "text", "SHA-256 of the prior's generator and code statistics, in hexadecimal"),
    Attribute("measure", "text", "what an activation is: the value of which layer, before or after what"),
    Attribute("seed", "int", "of all random starts; each picture's own start follows from it and its address"),
)
_PICTURES = (
    Field("activation", "f4", ("unit", "sample"), "activation of the stored pixels of the last iterate, measured "
          "after rounding", "activation"),
    Field("activation_float", "f4", ("unit", "sample"), "activation of the last iterate before rounding",
          "activation"),
    Field("best_activation", "f4", ("unit", "sample"), "activation of the stored pixels of the best iterate, "
          "measured after rounding", "activation"),
    Field("best_activation_float", "f4", ("unit", "sample"), "activation of the best iterate before rounding",
          "activation"),
    Field("best_step", "i4", ("unit", "sample"), "step of the best iterate; -1 where there is none", "steps"),
    Field("code_norm", "f4", ("unit", "sample"), "L2 norm of the last iterate's code", "code"),
    Field("status", "status", ("unit", "sample"), "what became of the picture"),
    Field("attempt", "u1", ("unit", "sample"), "which start the picture is from: 0 the first, then fresh ones",
          required=False),
    Field("reason", "text", ("unit",), "why pictures of the unit are not there, or empty", required=False),
    Field("trace", "f4", ("unit", "sample", "point"), "activation on the way; NaN after an early end", "activation"),
    Field("trace_step", "i4", ("point",), "step of each point of the trace", "steps"),
)  # fmt: skip

DGN = Group(
    "/layers/<layer>/dgn/<search>",
    "pictures by DGN-AM: ascent in the code space of a prior's generator (Nguyen et al. 2016) with one setting; its "
    "numbers are further attributes. The code gives the picture again: the generator's image, cut at its centre to "
    "the network's input, and there to the window",
    (
        Attribute("search", "text", "true name of the setting: the prior's name, and the variant's if any"),
        *_SEARCH,
        Attribute("row", "int", "row of the position that was maximized"),
        Attribute("column", "int", "column of the position that was maximized"),
        Attribute("cut", "int[]", "pixels of the window outside the image, not shown: top, left, bottom, right"),
    ),
    (
        Field("pixels", "u1", ("unit", "sample", "y", "x", "rgb"),
              "the pictures of the last iterate, true colours, at their true size", "pixel levels, 0 to 255"),
        Field("best_pixels", "u1", ("unit", "sample", "y", "x", "rgb"),
              "the pictures of the iterate with the largest activation", "pixel levels, 0 to 255"),
        Field("code", "f4", ("unit", "sample", "code"), "code of the last iterate, flattened", "code"),
        Field("best_code", "f4", ("unit", "sample", "code"), "code of the best iterate, flattened", "code"),
        *_PICTURES,
    ),
    open=True,
    required=False,
)  # fmt: skip

COMBINATION = Group(
    "/combinations/<name>",
    "pictures that excite several units at once (Nguyen et al. 2016, Eq. 2); row i of every array with the axis item "
    "belongs to the units member_unit[i]",
    (
        Attribute("name", "text", "true name of the set of combinations"),
        Attribute("layer", "text", "layer of all the units"),
        Attribute("balance", "float", "weight of the penalty on the difference of the activations; 0 without"),
        *_SEARCH,
    ),
    (
        Field("member_unit", "i4", ("item", "member"), "units that are combined; -1 beyond an item's last"),
        Field("member_label", "text", ("item", "member"), "names of these units, or empty"),
        Field("member_weight", "f4", ("item", "member"), "weight of each unit's activation in the objective"),
        Field("pixels", "u1", ("item", "sample", "y", "x", "rgb"), "the pictures of the last iterate, true colours",
              "pixel levels, 0 to 255"),
        Field("member_activation", "f4", ("item", "sample", "member"),
              "activation of each unit for the stored pixels", "activation"),
        Field("code", "f4", ("item", "sample", "code"), "code of the last iterate, flattened", "code"),
        Field("status", "status", ("item", "sample"), "what became of the picture"),
        Field("reason", "text", ("item",), "why pictures of the item are not there, or empty", required=False),
    ),
    open=True,
    required=False,
)  # fmt: skip

MEMORISATION = Group(
    "/memorisation/<search>",
    "the memorisation test: the real images nearest to each synthetic picture of a class, among those of that class, "
    "by Euclidean distance in each space: the pixels of the pictures' window, and each layer's own value with the mean "
    "image outside of the window (Nguyen et al. 2016, Fig. S22); how many were compared at most are further attributes",
    (
        Attribute("search", "text", "which pictures: those of /layers/<class layer>/dgn/<search>, last iterate"),
        Attribute("pictures", "text", "SHA-256 of these pictures"),
        Attribute("layer", "text", "the class layer, whose units the pictures are of"),
    ),
    (
        Field("spaces", "text", ("space",), "the spaces: pixels, and layers by name"),
        Field("unit", "i4", ("unit",), "the units of the class layer, rising"),
        Field("images", "i4", ("unit",), "images of the unit's class that were compared"),
        Field("nearest", "i4", ("unit", "sample", "space"),
              "row of the nearest image in /dataset/images; -1 where there is none"),
        Field("distance", "f4", ("unit", "sample", "space"), "its distance, of that space"),
        Field("typical", "f4", ("unit", "space"),
              "for comparison: the median, over the class's images, of the distance to the nearest other one"),
    ),
    open=True,
    required=False,
)  # fmt: skip

PRIOR = Group(
    "/priors/<name>",
    "a prior: a generator trained to turn codes of a layer into the images that they are of",
    (
        Attribute("prior", "text", "true name of the prior"),
        Attribute("digest", "text", "SHA-256 of its generator and code statistics, in hexadecimal"),
        Attribute("network", "text", "name of the network whose codes it inverts"),
        Attribute("network_digest", "text", "SHA-256 of that network; empty where it is not known"),
        Attribute("code_layer", "text", "layer whose values are its codes"),
        Attribute("code_shape", "int[]", "shape of a code: one number, or channels, rows, columns"),
        Attribute("height", "int", "height of its images in pixels"),
        Attribute("width", "int", "width of its images in pixels"),
        Attribute("trained_on", "text", "what it was trained on"),
        Attribute("licence", "text", "its licence"),
    ),
    (
        Field("card", "text", (), "its card, Markdown"),
        Field("mean", "f4", ("code",), "mean of each entry of a code over real images", "code"),
        Field("deviation", "f4", ("code",), "standard deviation of each entry over real images", "code"),
    ),
    open=True,
    required=False,
)  # fmt: skip
