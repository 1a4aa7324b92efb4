"""Schema of `bundle.yaml`."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from joyvasa.errors import ModelError
from joyvasa.faces.registry import list_detectors
from joyvasa.mode import Mode
from joyvasa.runtime.parsing import parse_yaml
from joyvasa.runtime.validation import explain_validation_error

MAX_SPEC_BYTES = 1 << 20  # a usual bundle.yaml has a few kilobytes

RoleMode = Literal[Mode, "training"]
Format = Literal["safetensors", "pytorch", "onnx", "template-pickle", "generated"]


def _check_relative_path(text: str) -> str:
    """Validate that a path is relative: no absolute path, drive, backslash, control character or `..`."""
    parts = text.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in text or re.match("^[A-Za-z]:", text):
        raise ValueError(f"{text!r} is not a path inside the bundle: use folder/file without '..'")
    if not text.isprintable():
        raise ValueError(f"{text!r} contains unprintable characters")
    return str(PurePosixPath(text))


RelativePath = Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_check_relative_path)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=80)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class License(_Strict):
    """License terms of a component, as stated by its publisher."""

    name: str
    commercial: Literal["yes", "no", "unclear"]
    note: str = ""


class HubSource(_Strict):
    """A file in a repository of the Hugging Face hub."""

    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")]
    revision: Annotated[str, Field(pattern=r"^\w+([./-]\w+)*$", max_length=200)] = "main"
    path: RelativePath


class Switches(_Strict):
    """Settings that the weights were trained for and that checkpoints do not contain."""

    synthetic: bool = False  # random, untrained weights; every output is marked
    detector: str = "blazeface"
    animal_detector: str = "compact"
    positional_encoding: Literal["per_token", "constant_row"] = "per_token"
    absolute_expression: bool = False  # expressions are free of identity and used as absolute values
    audio_normalization: Literal["none", "zero_mean_unit_variance"] = "none"
    audio_padding_samples: tuple[int, int] = (0, 0)  # zeros before and after the sound, at 16 kHz
    frames_per_second: int = Field(default=25, gt=0)
    input_size: int = Field(default=256, gt=0)  # side of the input picture of the extractors, pixels
    output_size: int = Field(default=512, gt=0)  # side of the output picture of the generator, pixels

    @model_validator(mode="after")
    def _check_detectors(self) -> Switches:
        modes: tuple[tuple[str, str, Mode], ...] = (
            ("detector", self.detector, "human"),
            ("animal_detector", self.animal_detector, "animal"),
        )
        for switch, name, mode in modes:
            if name not in (names := list_detectors(mode)):
                raise ValueError(f"{switch} is {name!r}; expected one of {', '.join(names)}")
        return self


class PublishedFile(_Strict):
    """A file: its path in the bundle, its size and hash, its source, and switches that belong to it."""

    version: str = ""
    file: RelativePath | None = None
    bytes: int | None = Field(default=None, ge=0)  # null: the exact size is not published
    about_bytes: int | None = Field(default=None, ge=0)  # approximate size if the exact one is not published
    sha256: Sha256 | None = None
    source: HubSource | None = None
    switches: dict[str, Any] = {}  # override switches of the bundle if this file is used


class Role(PublishedFile):
    """The weights of one component of the method."""

    format: Format
    license: str
    modes: list[RoleMode] = ["human"]
    optional: bool = False  # whether the mode runs without it
    instructions: str = ""  # how to get a file that `joyvasa models fetch` does not fetch
    network: Identifier | None = None  # name for `joyvasa.networks.build`
    entry: str | None = None  # key of the state dict inside the file
    config: dict[str, Any] = {}  # sizes that differ from the published ones
    scales: dict[str, float] = {}  # for generated weights: factors by key pattern
    constants: dict[str, float] = {}  # for generated weights: values by key pattern
    older: list[PublishedFile] = []  # older published files of this role, newest first

    @model_validator(mode="after")
    def _check_files(self) -> Role:
        if (self.format == "generated") != (self.file is None):
            raise ValueError("a role has a file unless its format is 'generated'")
        if any(other.file is None for other in self.older):
            raise ValueError("an older version needs a file")
        return self

    @property
    def versions(self) -> list[PublishedFile]:
        """All published files of this role, newest first."""
        return [self, *self.older]


class BundleSpec(_Strict):
    """Content of a `bundle.yaml`."""

    format_version: Literal[1]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", max_length=80)]
    description: str = ""
    licenses: dict[str, License]
    switches: Switches = Switches()
    roles: dict[Identifier, Role]

    @model_validator(mode="after")
    def _check_consistency(self) -> BundleSpec:
        for name, role in self.roles.items():
            if role.license not in self.licenses:
                raise ValueError(f"role {name}: license {role.license!r} is not in `licenses`")
            for version in role.versions:
                self.switches_with(version)
        return self

    def switches_with(self, version: PublishedFile) -> Switches:
        """Return the switches of the bundle if this version of a file is used."""
        return Switches.model_validate(self.switches.model_dump() | version.switches)

    def roles_for_mode(self, mode: str) -> list[str]:
        """Return the names of the roles that a mode uses; `all` selects every role."""
        return [name for name, role in self.roles.items() if mode == "all" or mode in role.modes]


def read_spec(path: Path) -> BundleSpec:
    """Read and validate a `bundle.yaml`.

    Raises:
        ModelError: the file cannot be read, is not YAML, or has an unknown, missing or invalid entry.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SPEC_BYTES + 1)
    except OSError as error:
        raise ModelError("bundle_unreadable", f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_SPEC_BYTES:
        raise ModelError("bundle_invalid", f"{path}: larger than {MAX_SPEC_BYTES} bytes; expected a bundle.yaml")

    try:
        content = parse_yaml(data)
    except ValueError as error:
        raise ModelError("bundle_invalid", f"{path}: not valid YAML for a bundle.yaml: {error}") from None

    try:
        return BundleSpec.model_validate(content)
    except ValidationError as error:
        problems = explain_validation_error(error, content, root="bundle")
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ModelError("bundle_invalid", f"{path}: {'; '.join(problems[:3])}{more}") from None
