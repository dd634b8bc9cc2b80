def resolve_model_data_config(model, args=None, pretrained_cfg=None, use_test_size=False, verbose=False):
    cfg = model.pretrained_cfg
    keys = ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")
    return {key: cfg[key] for key in keys}


def infer_imagenet_subset(model_or_cfg):
    return {3: "imagenet-3"}.get(model_or_cfg["num_classes"])


class ImageNetInfo:
    def __init__(self, subset="imagenet-3"):
        assert subset == "imagenet-3"

    def label_descriptions(self, detailed=False, as_dict=False):
        return ["tench, Tinca tinca", "goldfish", "shark"]
