"""Every kind of input that the project reads and did not write itself, or may find damaged."""

from __future__ import annotations

from tests.fuzz.kind import Kind
from tests.fuzz.kinds.archives import Archives, Members
from tests.fuzz.kinds.atlas_files import AtlasFiles, OpenAtlases, Pages
from tests.fuzz.kinds.caffe_files import CaffeHdf5, Caffemodels, Definitions, Means
from tests.fuzz.kinds.images import Images
from tests.fuzz.kinds.label_files import Labels, Lists
from tests.fuzz.kinds.plans import Plans
from tests.fuzz.kinds.priors import Priors
from tests.fuzz.kinds.requests import Addresses, Overrides
from tests.fuzz.kinds.shards import Shards
from tests.fuzz.kinds.torch_files import TorchFiles

KINDS: dict[str, type[Kind]] = {
    "definition": Definitions,
    "caffemodel": Caffemodels,
    "caffe_hdf5": CaffeHdf5,
    "mean": Means,
    "torch": TorchFiles,
    "prior": Priors,
    "image": Images,
    "archive": Archives,
    "member": Members,
    "list": Lists,
    "labels": Labels,
    "shard": Shards,
    "plan": Plans,
    "atlas": AtlasFiles,
    "open_atlas": OpenAtlases,
    "pages": Pages,
    "units": Addresses,
    "overrides": Overrides,
}
