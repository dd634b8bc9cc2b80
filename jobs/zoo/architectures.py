"""The architectures of the zoo, family by family: a fixed list, those of unusual form first."""

from __future__ import annotations

from dataclasses import dataclass

# family: publisher:name@side of the square input, in pixels. Small members and small inputs, where the family has them.
_LIST = """
ViT: transformers:ViTForImageClassification@64 timm:vit_tiny_patch16_224@64 torchvision:vit_b_32@64
ResNet: transformers:ResNetForImageClassification@64 torchvision:resnet18@64 timm:resnet10t@64 timm:resnet50@64
ConvNeXt: transformers:ConvNextForImageClassification@64 torchvision:convnext_tiny@64 timm:convnext_atto@64
Swin: timm:swin_tiny_patch4_window7_224@224 torchvision:swin_t@64 transformers:SwinForImageClassification@64
BEiT: timm:beit_base_patch16_224@64 transformers:BeitForImageClassification@64
CaiT: timm:cait_xxs24_224@64
XCiT: timm:xcit_nano_12_p16_224@64
MaxViT: timm:maxvit_rmlp_pico_rw_256@256 torchvision:maxvit_t@224
LeViT: timm:levit_128s@224 timm:levit_conv_128s@224 transformers:LevitForImageClassification@224
MobileViT: timm:mobilevit_xxs@128 timm:mobilevitv2_050@128 transformers:MobileViTForImageClassification@64
PoolFormer: timm:poolformer_s12@64 transformers:PoolFormerForImageClassification@64
MLP-Mixer: timm:mixer_s32_224@224
ResMLP: timm:resmlp_12_224@64
gMLP: timm:gmlp_ti16_224@64
ConvMixer: timm:convmixer_768_32@64
DeiT: timm:deit_tiny_distilled_patch16_224@64 transformers:DeiTForImageClassification@64
Swin v2: timm:swinv2_tiny_window8_256@128 torchvision:swin_v2_t@64 transformers:Swinv2ForImageClassification@64
ConvNeXt v2: timm:convnextv2_atto@64 transformers:ConvNextV2ForImageClassification@64
PVT v2: timm:pvt_v2_b0@64
Twins: timm:twins_svt_small@64
CoaT: timm:coat_lite_tiny@64
CoAtNet: timm:coatnet_pico_rw_224@224
EdgeNeXt: timm:edgenext_xx_small@64
EfficientFormer: timm:efficientformer_l1@224 timm:efficientformerv2_s0@224
SegFormer: transformers:SegformerForImageClassification@64 transformers:SegformerForSemanticSegmentation@64
DINOv2: transformers:Dinov2ForImageClassification@64
CLIP: transformers:CLIPVisionModel@64 timm:vit_base_patch32_clip_224@64
SigLIP: transformers:SiglipVisionModel@64
RegNet: transformers:RegNetForImageClassification@64 torchvision:regnet_y_400mf@64 timm:regnetx_002@64
MobileNet v2: transformers:MobileNetV2ForImageClassification@64 torchvision:mobilenet_v2@64
SE-ResNet: pytorchcv:seresnet20_cifar10@32 timm:seresnet50@64
EfficientNet: timm:efficientnet_lite0@64 torchvision:efficientnet_b0@64 timm:tf_efficientnet_b0@64
EfficientNet v2: torchvision:efficientnet_v2_s@64 timm:efficientnetv2_rw_t@64
SKNet: timm:skresnet18@64 pytorchcv:sknet50@224
ResNeSt: timm:resnest14d@64
Res2Net: timm:res2net50_14w_8s@64
ResNeXt: torchvision:resnext50_32x4d@64 pytorchcv:resnext20_16x4d_cifar10@32
WideResNet: torchvision:wide_resnet50_2@64 pytorchcv:wrn16_10_cifar10@32
DenseNet: torchvision:densenet121@64 pytorchcv:densenet40_k12_cifar10@32
VGG: torchvision:vgg11@64 torchvision:vgg11_bn@64 timm:vgg11@64
AlexNet: torchvision:alexnet@64
SqueezeNet: torchvision:squeezenet1_1@64
GoogLeNet: torchvision:googlenet@64 pytorchcv:bninception@224
Inception: torchvision:inception_v3@96 timm:inception_v4@96 timm:inception_resnet_v2@96
Xception: timm:legacy_xception@96 timm:xception41@96
MobileNet v1: timm:mobilenetv1_100@64 pytorchcv:mobilenet_wd4@224
MobileNet v3: torchvision:mobilenet_v3_small@64 timm:mobilenetv3_small_050@64
MobileNet v4: timm:mobilenetv4_conv_small_050@64 timm:mobilenetv4_hybrid_medium@64
MNASNet: torchvision:mnasnet0_5@64
ShuffleNet v2: torchvision:shufflenet_v2_x0_5@64
ShuffleNet v1: pytorchcv:shufflenet_g3_wd4@224
GhostNet: timm:ghostnet_050@64 timm:ghostnetv2_100@64
HRNet: timm:hrnet_w18_small@64
DLA: timm:dla46_c@64
VoVNet: timm:ese_vovnet19b_slim_dw@64
DPN: timm:dpn48b@64
RepVGG: timm:repvgg_a0@64
NFNet: timm:nf_resnet50@64 timm:eca_nfnet_l0@64
BiT: timm:resnetv2_50x1_bit@64 transformers:BitForImageClassification@64
CSPNet: timm:cspresnet50@64 timm:cs3darknet_focus_s@64
TinyNet: timm:tinynet_e@64
FBNet: timm:fbnetc_100@64
HardCoRe-NAS: timm:hardcorenas_a@64
FCN: torchvision:fcn_resnet50@64
DeepLab: torchvision:deeplabv3_mobilenet_v3_large@64
LR-ASPP: torchvision:lraspp_mobilenet_v3_large@64
PreResNet: pytorchcv:preresnet20_cifar10@32
PyramidNet: pytorchcv:pyramidnet110_a48_cifar10@32
DIA-ResNet: pytorchcv:diaresnet20_cifar10@32
NIN: pytorchcv:nin_cifar10@32
RiR: pytorchcv:rir_cifar10@32
RoR: pytorchcv:ror3_56_cifar10@32
Shake-Shake: pytorchcv:shakeshakeresnet20_2x16d_cifar10@32
X-DenseNet: pytorchcv:xdensenet40_2_k24_bc_cifar10@32
DiracNet: pytorchcv:diracnet18v2@224
FractalNet: pytorchcv:fractalnet_cifar10@32
OctResNet: pytorchcv:octresnet10_ad2@224
SqueezeNext: pytorchcv:sqnxt23_w1@224
MENet: pytorchcv:menet108_8x1_g3@224
IGCV3: pytorchcv:igcv3_wd4@224
DarkNet: pytorchcv:darknet_tiny@224
PeleeNet: pytorchcv:peleenet@224
BAM: pytorchcv:bam_resnet18@224
CBAM: pytorchcv:cbam_resnet18@224
IBN: pytorchcv:ibn_resnet50@224
BagNet: pytorchcv:bagnet9@224
HarDNet: pytorchcv:hardnet39ds@224
DRN: pytorchcv:drnd22@224
ENet: pytorchcv:enet_cityscapes@64
ERFNet: pytorchcv:erfnet_cityscapes@64
LinkNet: pytorchcv:linknet_cityscapes@64
ESPNet: pytorchcv:espnetv2_wd2@224
FD-MobileNet: pytorchcv:fdmobilenet_wd4@224
ProxylessNAS: pytorchcv:proxylessnas_cpu@224
MixNet: timm:mixnet_s@64
ReXNet: timm:rexnet_100@64
SelecSLS: timm:selecsls42@64
TResNet: timm:tresnet_m@64
Hiera: timm:hiera_tiny_224@224
FocalNet: timm:focalnet_tiny_srf@64 transformers:FocalNetForImageClassification@64
PiT: timm:pit_ti_224@224
Visformer: timm:visformer_tiny@224
ConViT: timm:convit_tiny@64
CrossViT: timm:crossvit_tiny_240@240
GC-ViT: timm:gcvit_xxtiny@224
DaViT: timm:davit_tiny@64
MViT v2: timm:mvitv2_tiny@64
NesT: timm:nest_tiny@224
TNT: timm:tnt_s_patch16_224@224
Sequencer: timm:sequencer2d_s@224
VOLO: timm:volo_d1_224@224
TinyViT: timm:tiny_vit_5m_224@224
RepViT: timm:repvit_m0_9@64
RepGhost: timm:repghostnet_050@64
FastViT: timm:fastvit_t8@64
MobileOne: timm:mobileone_s0@64
EfficientViT: timm:efficientvit_b0@64 timm:efficientvit_m0@224
InceptionNeXt: timm:inception_next_atto@64
StarNet: timm:starnet_s050@64
HGNet: timm:hgnetv2_b0@64
FasterNet: timm:fasternet_t0@64
SwiftFormer: timm:swiftformer_xs@64
MambaOut: timm:test_mambaout@64
LCNet: timm:lcnet_035@64
GENet: timm:gernet_s@64
HaloNet: timm:halonet26t@256
LambdaNet: timm:lambda_resnet26t@256
BoTNet: timm:botnet26t_256@256
EVA-02: timm:eva02_tiny_patch14_224@224
CvT: transformers:CvtForImageClassification@64
ViT with registers: timm:vit_small_patch14_reg4_dinov2@70
ViT with relative positions: timm:vit_relpos_small_patch16_224@224
R-ViT hybrid: timm:vit_tiny_r_s16_p8_224@224
"""

_SMALL_VIT = {
    "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96,
    "image_size": 64, "patch_size": 16,
}  # fmt: skip
_SMALL_CNN = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
_SMALL_SWIN = {"image_size": 64, "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4}
_SMALL_STAGES = {"hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1]}
# Settings of the transformers' configurations that make the networks small.
CONFIGURATIONS: dict[str, dict[str, object]] = {
    "ViTForImageClassification": _SMALL_VIT,
    "DeiTForImageClassification": _SMALL_VIT,
    "BeitForImageClassification": _SMALL_VIT | {"use_relative_position_bias": True},
    "Dinov2ForImageClassification": _SMALL_VIT,
    "CLIPVisionModel": _SMALL_VIT,
    "SiglipVisionModel": _SMALL_VIT,
    "ResNetForImageClassification": _SMALL_CNN,
    "RegNetForImageClassification": _SMALL_CNN | {"groups_width": 8},
    "BitForImageClassification": {"embedding_size": 32, "hidden_sizes": [128] * 4, "depths": [1, 1, 2, 1]},
    "ConvNextForImageClassification": _SMALL_STAGES,
    "ConvNextV2ForImageClassification": _SMALL_STAGES,
    "SwinForImageClassification": _SMALL_SWIN,
    "Swinv2ForImageClassification": _SMALL_SWIN,
    "FocalNetForImageClassification": {
        "image_size": 64, "embed_dim": 24, "depths": [1, 1], "hidden_sizes": [24, 48],
        "focal_levels": [2, 2], "focal_windows": [3, 3],
    },
    "PoolFormerForImageClassification": _SMALL_STAGES | {"depths": [1, 1, 1, 1]},
    "MobileNetV2ForImageClassification": {"depth_multiplier": 0.35, "image_size": 64},
    "MobileViTForImageClassification": {
        "image_size": 64, "hidden_sizes": [16, 24, 32], "neck_hidden_sizes": [8, 12, 16, 16, 24, 32, 64],
    },
    "LevitForImageClassification": {
        "hidden_sizes": [32, 48, 64], "num_attention_heads": [2, 3, 4], "depths": [1, 1, 1], "key_dim": [8, 8, 8],
    },
    "SegformerForImageClassification": {"hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1]},
    "SegformerForSemanticSegmentation": {
        "hidden_sizes": [8, 16, 32, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 32,
    },
    "CvtForImageClassification": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 3], "depth": [1, 2, 3]},
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A network of a publisher's package. size : side of its square input, in pixels."""

    family: str
    publisher: str
    name: str
    size: int

    @property
    def key(self) -> str:
        """The address of the architecture in the zoo, such as timm:resnet10t."""
        return f"{self.publisher}:{self.name}"


def _read(text: str) -> tuple[Architecture, ...]:
    found = []
    for line in text.strip().splitlines():
        family, _, entries = line.partition(": ")
        for entry in entries.split():
            publisher, _, rest = entry.partition(":")
            name, _, size = rest.partition("@")
            found.append(Architecture(family, publisher, name, int(size)))
    return tuple(found)


ARCHITECTURES = _read(_LIST)
