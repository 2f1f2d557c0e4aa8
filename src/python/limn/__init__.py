"""limn: text to pictures on any OpenCL device.

    import limn
    with limn.Model() as m:                                 # the small model that is built in; limn.Model("janus.gguf")
        m.generate("a panda", seed=1).save("panda.png")     # a PIL.Image, whose settings the file keeps
        nine = m.generate("pizza", n=9, temperature=1)      # a list

Messages of the library go to ``logging.getLogger("limn")``.
"""

from ._device import Device, DeviceInfo, devices
from ._files import Inspection, TensorInfo, convert, inspect
from ._model import Model, ModelInfo, Score
from ._native import Error, Interrupted, NoDeviceError, UsageError
from ._native import version as __version__
from ._pictures import Picture

__all__ = [
    "Device",
    "DeviceInfo",
    "Error",
    "Inspection",
    "Interrupted",
    "Model",
    "ModelInfo",
    "NoDeviceError",
    "Picture",
    "Score",
    "TensorInfo",
    "UsageError",
    "__version__",
    "convert",
    "devices",
    "inspect",
]
for _name in __all__:  # tracebacks and pickles call them limn's
    if getattr(globals()[_name], "__module__", "").startswith("limn."):
        globals()[_name].__module__ = "limn"
del _name
