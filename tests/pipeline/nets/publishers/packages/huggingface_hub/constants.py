import os

HF_HUB_OFFLINE = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0")
ENDPOINT = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
HF_HUB_CACHE = os.path.join(os.environ.get("HF_HOME", "/nowhere"), "hub")
