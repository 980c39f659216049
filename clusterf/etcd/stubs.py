"""The etcd3 package's messages and stubs, under today's protobuf.

The modules that protoc generated for etcd3 0.12 cannot be imported with protobuf 4
and newer ("Descriptors cannot be created directly"), but each contains its file
descriptor in serialized form. These descriptors are passed to protobuf's builder, and
the modules that it builds are registered where `etcd3` imports them from, before
`etcd3` is imported. That uses the native parser, and needs no environment variable
(PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python is the usual workaround).
"""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pool
from google.protobuf.internal import builder

__all__ = ["etcdrpc"]

_PACKAGE = "etcd3.etcdrpc"
_MODULES = ("kv_pb2", "auth_pb2", "rpc_pb2")  # in the order of their dependencies


def _install() -> None:
    """Register the modules. Raises ImportError if `etcd3` is missing or not as expected."""
    spec = importlib.util.find_spec("etcd3")
    if spec is None or spec.origin is None:
        raise ImportError("the package etcd3 is not installed")
    folder = Path(spec.origin).parent / "etcdrpc"
    for name in _MODULES:
        qualified = f"{_PACKAGE}.{name}"
        if qualified not in sys.modules:
            sys.modules[qualified] = _build(qualified, (folder / f"{name}.py").read_text())


def _build(qualified: str, source: str) -> ModuleType:
    module = ModuleType(qualified)
    descriptor = descriptor_pool.Default().AddSerializedFile(_serialized(qualified, source))
    builder.BuildMessageAndEnumDescriptors(descriptor, module.__dict__)
    builder.BuildTopDescriptorsAndMessages(descriptor, qualified, module.__dict__)
    module.__dict__["DESCRIPTOR"] = descriptor
    return module


def _serialized(qualified: str, source: str) -> bytes:
    """Return the argument `serialized_pb` in protoc's module, which is bytes or a latin-1 string."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "serialized_pb":
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str | bytes):
                    return part.value.encode("latin-1") if isinstance(part.value, str) else part.value
    raise ImportError(f"{qualified}: holds no serialized descriptor")


_install()

from etcd3 import etcdrpc  # noqa: E402  (importable only after _install)
