"""Tensors that say ``cuda:0``, so that what a GPU would refuse or wait for shows on a CPU.

The engine runs on them as it is. Values are computed in main memory; a mode for functions and one
for operators refuse what CUDA refuses (tensors of two devices, masks of another dtype, NumPy) and
write down kernels, waits of the host, and for each attention call the kernel that torch's rules
(aten/native/transformers/cuda/sdp_utils.cpp) would take.
"""

from __future__ import annotations

import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

OURS = "/chronos2_attention/"
ATTENTION = functional.scaled_dot_product_attention
# One kernel each on CUDA, several operators on a CPU.
FUSED = {functional.rms_norm: "rms_norm"}
WAITING = {"_local_scalar_dense", "nonzero", "_unique2", "unique_consecutive", "masked_select"}
WAITING |= {"equal", "repeat_interleave"}


class Attention(NamedTuple):
    """An attention call: the kernel that runs it, and whether torch copies its mask first."""

    kernel: str
    copies_mask: bool
    shape: tuple[int, ...]


@dataclass
class Log:
    """What happened on the device."""

    kernels: Counter = field(default_factory=Counter)
    waits: list[str] = field(default_factory=list)  # where the host waited
    uploads: list[str] = field(default_factory=list)  # copies to the device that block
    attention: list[Attention] = field(default_factory=list)

    def layered_waits(self, passes: int = 1) -> list[str]:
        """Waits of our own lines that came twice in a pass: in a layer, or needlessly."""
        return [place for place, n in Counter(self.waits).items() if n > passes and OURS in place]

    @property
    def own_uploads(self) -> list[str]:
        return [place for place in self.uploads if OURS in place]


class Gpu(torch.Tensor):
    """A tensor that says ``cuda:0``; `held` are its values."""

    @staticmethod
    def __new__(cls, real: torch.Tensor):
        made = {"strides": real.stride(), "storage_offset": real.storage_offset()}
        self = torch.Tensor._make_wrapper_subclass(
            cls, real.shape, dtype=real.dtype, device="cuda:0", **made
        )
        self.held = real
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func} outside of the pretended GPU")


def on_gpu(x):
    return Gpu(x) if type(x) is torch.Tensor else x


def real(x):
    return x.held if isinstance(x, Gpu) else x


def is_cuda(device) -> bool:
    return isinstance(device, str | torch.device) and str(device).startswith("cuda")


def where() -> str:
    """Name the innermost line of ours, or of upstream."""
    for frame in reversed(traceback.extract_stack()):
        if OURS in frame.filename or "/chronos/chronos2/" in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return "a test"


def refuse_mixture(what: str, tensors: list[torch.Tensor]) -> None:
    kinds = {type(x) is Gpu for x in tensors if isinstance(x, Gpu) or x.dim() > 0}
    if len(kinds) == 2:
        raise RuntimeError(f"tensors on the same device expected, cuda:0 and cpu in {what}")


def attention_kernel(q, k, v, mask) -> str:
    """Name the kernel for compute capability 8.0 and 9.0, of which only the latter has cuDNN's."""
    rows_whole = all(x.stride(-1) == 1 for x in (q, k, v, mask) if x is not None)
    half, width = q.element_size() == 2, q.shape[-1]
    if not rows_whole or width % (8 if half else 4):
        return "math"
    if half and torch.backends.cuda.cudnn_sdp_enabled():
        return "cudnn"
    return "flash" if half and mask is None and width <= 256 else "efficient"


class Operators(TorchDispatchMode):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func._schema.name.removeprefix("aten::")
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = any(isinstance(x, Gpu) for x in tensors)
        to_device = is_cuda(kwargs.get("device"))
        to_host = here and str(kwargs.get("device")) == "cpu"
        if not here and not to_device:
            return func(*args, **kwargs)
        crosses = name == "copy_" and isinstance(args[0], Gpu) != isinstance(args[1], Gpu)
        if crosses or name in WAITING or to_host:
            self.log.waits.append(where())
        elif not to_device or here:
            refuse_mixture(str(func), tensors)
        is_free = func.is_view or "empty" in name or name in ("_unsafe_view", "detach", "alias")
        self.log.kernels[name] += not is_free
        if to_device:
            kwargs["device"] = torch.device("cpu")
        given, named = tree_map(real, (args, kwargs))
        out = func(*given, **named)
        if to_host or name == "_local_scalar_dense":
            return out
        if func._schema.is_mutable and not name.startswith("native_"):
            return kwargs.get("out", args[0])
        return tree_map(on_gpu, out)


class Functions(TorchFunctionMode):
    """What does not reach the operators: attention as one call, indices, copies, NumPy."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self.log = log

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        first = args[0] if args else None
        if func is ATTENTION and isinstance(first, Gpu):
            return self.attend(*args, **kwargs)
        if func in FUSED and isinstance(first, Gpu):
            refuse_mixture(name, [x for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)])
            return self.apply(FUSED[func], func, args, kwargs)
        if name in ("__getitem__", "__setitem__") and isinstance(first, Gpu):
            return self.index(name, func, args)
        if name in ("numpy", "__array__") and isinstance(first, Gpu):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if name == "tolist" and isinstance(first, Gpu):
            self.log.waits.append(where())
            return first.held.tolist()
        moved = [*args[1:], *kwargs.values()]
        if (
            name == "to"
            and type(first) is not Gpu
            and any(is_cuda(x) or isinstance(x, Gpu) for x in moved)
        ):
            return self.upload(first, moved, kwargs)
        if is_cuda(kwargs.get("device")) and not types:
            return self.apply(name, func, args, kwargs | {"device": "cpu"})
        try:
            return func(*args, **kwargs)
        except RuntimeError as error:  # some bindings want a driver before they dispatch
            if "not linked with support" not in str(error):
                raise
            refuse_mixture(name, [x for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)])
            return self.apply(name, func, args, kwargs)

    def apply(self, name, func, args, kwargs):
        """Run a function on the values, as one kernel."""
        self.log.kernels[name] += not name.startswith(("empty", "new_empty"))
        given, named = tree_map(real, (args, kwargs))
        out = func(*given, **named)
        return args[0] if args and out is given[0] else tree_map(on_gpu, out)

    def attend(self, q, k, v, attn_mask=None, **kwargs):
        refuse_mixture("attention", [x for x in (q, k, v, attn_mask) if x is not None])
        if attn_mask is not None and attn_mask.dtype not in (torch.bool, q.dtype):
            raise RuntimeError(f"a mask in {attn_mask.dtype} for queries in {q.dtype}")
        copies = attn_mask is not None and any(s % 8 for s in attn_mask.stride()[:-1])
        kernel = attention_kernel(q, k, v, attn_mask)
        self.log.attention.append(Attention(kernel, copies, (*q.shape, k.shape[2])))
        return self.apply("attention", ATTENTION, (q, k, v), {"attn_mask": attn_mask, **kwargs})

    def index(self, name, func, args):
        picks = args[1] if isinstance(args[1], tuple) else (args[1],)
        tensors = [x for x in picks if isinstance(x, torch.Tensor)]
        if any(not isinstance(x, Gpu) or x.dtype == torch.bool for x in tensors):
            self.log.waits.append(where())
        advanced = any(isinstance(x, torch.Tensor | list) for x in picks)
        self.log.kernels["index"] += advanced or name == "__setitem__"
        out = func(*tree_map(real, args))
        return None if name == "__setitem__" else on_gpu(out)

    def upload(self, tensor, moved, kwargs):
        """Copy to the device: a kernel's worth, and a wait unless it is told not to."""
        if not kwargs.get("non_blocking"):
            self.log.uploads.append(where())
        like = (x.dtype if isinstance(x, Gpu) else x for x in moved)
        dtype = next((x for x in like if isinstance(x, torch.dtype)), tensor.dtype)
        return Gpu(tensor.detach().clone().to(dtype))


@contextmanager
def pretended(log: Log):
    with Functions(log), Operators(log):
        yield log


def move(model: torch.nn.Module) -> torch.nn.Module:
    """Move a model's parameters and buffers, in place."""
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for name, x in table.items():
                table[name] = Gpu(x.detach().clone()) if torch.is_tensor(x) else x
    return model
