"""CUDA kernels from the sources in `csrc`, compiled at run time (NVRTC) and launched through the driver.

`torch.cuda._compile_kernel` does the same, but only in the newest PyTorch, under a private name, and it asks for the
headers of an installed CUDA toolkit. NVRTC itself comes with PyTorch's CUDA wheels.
"""

import ctypes
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

SOURCES = Path(__file__).with_name("csrc")
_MAX_DYNAMIC_SHARED_BYTES = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SHARED_BYTES_WITHOUT_ASKING = 48 * 1024

Argument = torch.Tensor | int | ctypes.Structure


class Kernels:
    """The kernels of one compiled source on one device.

    Args:
        driver: the CUDA driver library.
        image: cubin, as from `compile_source`.
        device: the GPU, with its index.
        n_multiprocessors: of the GPU.

    Raises:
        RuntimeError: the driver refuses the image.
    """

    def __init__(self, driver: ctypes.CDLL, image: bytes, *, device: torch.device, n_multiprocessors: int):
        self.device, self.n_multiprocessors = device, n_multiprocessors
        self._driver, self._functions = driver, {}
        self._context, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        ordinal = ctypes.c_int()
        self._check(driver.cuInit(0))
        self._check(driver.cuDeviceGet(ctypes.byref(ordinal), device.index or 0))
        self._check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), ordinal))
        with self._in_context():
            self._check(driver.cuModuleLoadData(ctypes.byref(self._module), image))

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        n_threads: int,
        arguments: Sequence[Argument],
        *,
        shared_bytes: int = 0,
    ) -> None:
        """Starts a kernel on PyTorch's current stream; does not wait for it.

        Args:
            name: of an `extern "C"` kernel.
            grid: blocks in x, y and z.
            n_threads: of a block.
            arguments: tensors for pointers (contiguous, on the device), 32-bit integers, structures.
            shared_bytes: dynamic shared memory a block.
        """
        values = [_as_ctypes(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        sizes = map(ctypes.c_uint, (*grid, n_threads, 1, 1, shared_bytes))
        stream = torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0
        with self._in_context():
            function = self._function(name, shared_bytes)
            launch = self._driver.cuLaunchKernel
            self._check(launch(function, *sizes, ctypes.c_void_p(stream), pointers, ctypes.c_void_p()))

    @contextmanager
    def _in_context(self) -> Iterator[None]:
        """PyTorch works in this context too, but need not have made it current in this thread."""
        self._check(self._driver.cuCtxPushCurrent_v2(self._context))
        try:
            yield
        finally:
            self._check(self._driver.cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p())))

    def _function(self, name: str, shared_bytes: int) -> ctypes.c_void_p:
        key = name, shared_bytes
        if key not in self._functions:
            function = ctypes.c_void_p()
            self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
            if shared_bytes > _SHARED_BYTES_WITHOUT_ASKING:
                self._check(self._driver.cuFuncSetAttribute(function, _MAX_DYNAMIC_SHARED_BYTES, shared_bytes))
            self._functions[key] = function
        return self._functions[key]

    def _check(self, status: int) -> None:
        if status != 0:
            text = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(text))
            raise RuntimeError(f"CUDA driver: {(text.value or b'unknown error').decode()} (error {status})")


def _as_ctypes(argument: Argument) -> ctypes._SimpleCData | ctypes.Structure:
    if isinstance(argument, torch.Tensor):
        return ctypes.c_void_p(argument.data_ptr())
    return ctypes.c_int(argument) if isinstance(argument, int) else argument


@cache
def load_kernels(source: str, device: torch.device, defines: tuple[tuple[str, int], ...] = ()) -> Kernels:
    """The kernels of `csrc/<source>`, compiled once per process; see `make_kernels`."""
    return make_kernels((SOURCES / source).read_text(encoding="utf-8"), device, dict(defines))


def make_kernels(text: str, device: torch.device, defines: Mapping[str, int]) -> Kernels:
    """Compiles CUDA C for a GPU (about a second).

    Args:
        text: source; it may include the files of `csrc`.
        device: with its index.
        defines: macros.

    Raises:
        OSError: NVRTC or the driver is not there.
        RuntimeError: the source does not compile, or the driver refuses it.
    """
    properties = torch.cuda.get_device_properties(device)
    image = compile_source(text, f"sm_{properties.major}{properties.minor}", defines, library=nvrtc())
    return Kernels(driver(), image, device=device, n_multiprocessors=properties.multi_processor_count)


def driver() -> ctypes.CDLL:
    """The CUDA driver.

    Raises:
        OSError: it is not there.
    """
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def nvrtc() -> ctypes.CDLL:
    """The run-time compiler that belongs to this PyTorch, which has loaded it or has it beside itself.

    Raises:
        OSError: it is not there.
    """
    major = (torch.version.cuda or "13").split(".")[0]
    name = f"nvrtc64_{major}0_0.dll" if sys.platform == "win32" else f"libnvrtc.so.{major}"
    beside = Path(torch.__file__).parent.parent / "nvidia"
    found = sorted(beside.glob(f"*/lib/{name}")) if beside.is_dir() else []
    for candidate in (name, *map(str, found)):
        try:
            return ctypes.CDLL(candidate)
        except OSError:
            continue
    raise OSError(f"{name} was not found; it comes with PyTorch's CUDA wheels and with the CUDA toolkit")


def compile_source(text: str, architecture: str, defines: Mapping[str, int], *, library: ctypes.CDLL) -> bytes:
    """CUDA C to a cubin.

    Args:
        text: source; it may include the files of `csrc`.
        architecture: as "sm_80".
        defines: macros.
        library: NVRTC.

    Raises:
        RuntimeError: with the compiler's messages.
    """
    program = ctypes.c_void_p()
    options = [f"--gpu-architecture={architecture}", "--std=c++17", f"--include-path={SOURCES}"]
    options += [f"-D{name}={value}" for name, value in defines.items()]
    array = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"dse.cu", 0, None, None)
    try:
        status = library.nvrtcCompileProgram(program, len(options), array)
        if status != 0:
            log = _read(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).rstrip(b"\0")
            raise RuntimeError(
                f"CUDA kernels do not compile for {architecture} (NVRTC error {status}): {log.decode().rstrip()}"
            )
        return _read(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _read(size_of, read, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    read(program, buffer)
    return buffer.raw
