"""Who may import whom: the wings of the house, and the one way that a CT flows through the library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

LIBRARY = "KidneyTumorCascadeLib"

# A module may import those above it and none below: scan -> boxes -> probabilities -> labels -> measurements.
LAYERS = (
    "errors",
    "allocator",
    "geometry",
    "progress",
    "json_fields",
    "report",
    "processes",
    "worker_protocol",
    "worker_messages",
    "worker_client",
    "worker_task",
    "gzip_pieces",
    "nifti_header",
    "nifti_file",
    "metaimage_file",
    "nrrd_file",
    "image_file",
    "dicom_lengths",
    "dicom_trial",
    "dicom",
    "volume",
    "output_files",
    "scan_check",
    "scan_reading",
    "case_files",
    "batch_records",
    "earlier_results",
    "batch_summary",
    "batch_page",
    "batch_report",
    "resampling",
    "normalization",
    "vnet",
    "packed_vnet",
    "sliding_window",
    "box_rules",
    "kidney_groups",
    "kidney_boxes",
    "component_rules",
    "merging",
    "labelled_box",
    "labelling",
    "worker_results",
    "bundle_format",
    "bundle",
    "bundle_store",
    "device",
    "memory_ladder",
    "environment",
    "body",
    "cascade",
    "measurements",
    "surface_distance",
    "evaluation",
    "slice_picture",
    "preview",
    "phantom_texture",
    "phantom_shapes",
    "phantom_anatomy",
    "phantom_kidneys",
    "phantom",
    "worker_scans",
    "worker_jobs",
    "worker_server",
    "worker",
    "segment_file",
    "batch_cases",
    "batch_case",
    "batch_folder",
    "batch_worker",
    "batch_pool",
    "batch_cluster_worker",
    "batch_cluster",
    "batch",
    "batch_command",
    "arguments",
    "commands",
    "cli",
    "__main__",
)
# What 3D Slicer's own Python imports, which may have no torch.
TORCH_FREE = (
    "errors",
    "allocator",
    "geometry",
    "progress",
    "volume",
    "box_rules",
    "report",
    "batch_records",
    "scan_check",
    "scan_reading",
    "phantom",
    "worker_protocol",
    "worker_messages",
    "worker_client",
    "worker",
)
LIBRARY_PACKAGES = {"torch", "numpy", "scipy", "SimpleITK", "safetensors"}
# Imported inside functions only, so that nothing else waits for them or fails without them.
LAZY_PACKAGES = {"PIL": {"preview"}, "distributed": {"batch_cluster", "batch_cluster_worker"}}
# The last two are modules of Slicer and of its extension PyTorch.
SLICER_PACKAGES = {"slicer", "qt", "ctk", "vtk", "numpy", "SampleData", "PyTorchUtils"}
TRAINING_PACKAGES = LIBRARY_PACKAGES | {"matplotlib", "tqdm", "tensorboard", "dask", "distributed", "PIL"}


@dataclass(frozen=True)
class Import:
    """One imported module. `lazy` inside a function, `typing` where it happens for type checkers only."""

    module: str
    line: int
    lazy: bool
    typing: bool

    @property
    def package(self) -> str:
        """The first part of its name."""
        return self.module.split(".")[0]


def imports_of(source: str) -> list[Import]:
    """Every import statement of a source text, wherever it stands."""
    return list(_walk(ast.parse(source), lazy=False, typing=False))


def _walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, lazy, typing) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        # "from package import module" may name a module: both readings are given.
        module = "." * node.level + (node.module or "")
        yield from (Import(f"{module}.{alias.name}", node.lineno, lazy, typing) for alias in node.names)
    lazy = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, lazy, typing or (is_typing_block(node) and child in getattr(node, "body", [])))


def is_typing_block(node: ast.AST) -> bool:
    """True for `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def library_violations(module: str, source: str) -> list[str]:
    """What a module of the library imports against the rule, one sentence each."""
    return _violations(source, lambda found: _library_problem(module, found))


def _library_problem(module: str, found: Import) -> str:
    if found.package == LIBRARY:
        return layer_problem(module, library_module(found))
    if found.package in LAZY_PACKAGES:
        allowed = module in LAZY_PACKAGES[found.package] and (found.lazy or found.typing)
        return "" if allowed else f"{found.package} may be imported only inside functions of {', '.join(sorted(LAZY_PACKAGES[found.package]))}"
    return package_problem(found, LIBRARY_PACKAGES)


def layer_problem(module: str, imported: str) -> str:
    """Empty when the one module may import the other."""
    if imported == "":
        return ""
    unknown = [name for name in (module, imported) if name not in LAYERS]
    if unknown:
        return f"{unknown[0]} has no place in LAYERS yet; enter it there"
    return "" if LAYERS.index(imported) < LAYERS.index(module) else f"{imported} comes after {module}; nothing flows back"


def library_module(found: Import) -> str:
    """The library's module that an import reads; empty for the package itself, such as its version."""
    parts = found.module.split(".")[1:]
    return parts[0] if parts and not parts[0].startswith("__version") else ""


def package_problem(found: Import, allowed: set[str]) -> str:
    """Empty for the standard library and allowed packages."""
    if found.module.startswith("."):
        return "write the full name of the module instead of a relative import"
    return "" if found.package in sys.stdlib_module_names or found.package in allowed else f"{found.package} is not allowed here"


def wing_violations(source: str, allowed: set[str], library: Sequence[str] | None) -> list[str]:
    """What a file of another wing imports against the rule. `library`: the modules of the library that it may use, None for all."""

    def problem(found: Import) -> str:
        if found.package != LIBRARY:
            return package_problem(found, allowed)
        module = library_module(found)
        return "" if library is None or module in ("", *library) else f"{LIBRARY}.{module} needs torch or is not for this wing"

    return _violations(source, problem)


def _violations(source: str, problem_of: Callable[[Import], str]) -> list[str]:
    found = [(item, problem_of(item)) for item in imports_of(source)]
    return [f"line {item.line}: {item.module}: {problem}" for item, problem in found if problem]


def needed_packages(module: str, source_of: Callable[[str], str]) -> set[str]:
    """Packages that importing a module of the library pulls in, through other modules of it too; what functions import later is left out."""
    packages: set[str] = set()
    waiting, seen = [module], {module}
    while waiting:
        for found in imports_of(source_of(waiting.pop())):
            if found.lazy or found.typing:
                continue
            packages.add(found.package)
            inner = library_module(found) if found.package == LIBRARY else ""
            if inner and inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return packages


def python_files(folder: Path) -> list[Path]:
    """All Python files under a folder; none when it does not exist."""
    return sorted(folder.rglob("*.py")) if folder.is_dir() else []
