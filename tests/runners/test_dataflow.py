"""Dataflow, as far as that can be tested without the service: the image, the job to submit, the page."""

from __future__ import annotations

import argparse
import base64
import bz2
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from pyarrow import parquet

from beam_zerobus import ZerobusOptions
from beam_zerobus.emulator import Emulator
from beam_zerobus.programs import files_to_zerobus
from tests.runners.container import Image
from tests.runners.pages import commands
from tests.runners.support import ROOT, zerobus_environment

PAGE = "runners/dataflow.md"
CONTAINER_FILE = ROOT / "pipelines" / "dataflow" / "Dockerfile"
METADATA = ROOT / "pipelines" / "dataflow" / "metadata.json"
TABLE, COLUMNS = "main.iot.air_quality", "device STRING NOT NULL, co2 INT"
SECRETS = {"DATABRICKS_CLIENT_ID": "the-client-id", "DATABRICKS_CLIENT_SECRET": "the-client-secret"}
PLACES = {
    "PROJECT": "my-project",
    "REGION": "europe-west1",
    "BUCKET": "my-bucket",
    "IMAGE": "europe-west1-docker.pkg.dev/my-project/my-repository/beam-zerobus:1",
}
LAUNCH = "Launch from a terminal"
TEMPLATE = "Launch as a flex template"


@pytest.fixture
def zerobus() -> Iterator[Emulator]:
    with Emulator(client_id=SECRETS["DATABRICKS_CLIENT_ID"], client_secret=SECRETS["DATABRICKS_CLIENT_SECRET"]) as run:
        run.create_table(TABLE, COLUMNS)
        yield run


def unpacked(data: bytes) -> Iterator[bytes]:
    """Yield data, and the data that is compressed in it as Beam compresses pickles."""
    yield data
    for text in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", data):
        for unpack in (bz2.decompress, zlib.decompress):
            try:
                inner = unpack(base64.b64decode(text + b"=" * (-len(text) % 4)))
            except (OSError, ValueError, zlib.error):
                continue
            yield from unpacked(inner)


def everything_in(proto: bytes) -> bytes:
    return b"\n".join(unpacked(proto))


def assert_no_secret_in(proto: bytes) -> None:
    everything = everything_in(proto)
    assert TABLE.encode() in everything.replace(proto, b""), "the sink was not found, where its secrets would be"
    for secret in SECRETS.values():
        assert secret.encode() not in everything


def staged_file(artifact: beam_runner_api_pb2.ArtifactInformation) -> tuple[str, Path]:
    name = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload).staged_name
    return name, Path(beam_runner_api_pb2.ArtifactFilePayload.FromString(artifact.type_payload).path)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--zerobus_client_id_env=MY_ID", "--zerobus_client_secret_env=MY_SECRET"],
        [
            "--zerobus_client_id_gcp_secret=projects/p/secrets/s/versions/1",
            "--zerobus_client_secret_gcp_secret=projects/p/secrets/s/versions/2",
        ],
    ],
    ids=["default variables", "variables", "Secret Manager"],
)
def test_there_is_no_secret_in_the_pipeline(flags, zerobus, monkeypatch):
    variables = {**zerobus_environment(zerobus), "MY_ID": "the-client-id", "MY_SECRET": "the-client-secret"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    options = PipelineOptions([f"--zerobus_table={TABLE}", *flags, "--runner=FnApiRunner"])
    pipeline = beam.Pipeline(options=options)
    result = pipeline | beam.Create([{"device": "attic"}]) | options.view_as(ZerobusOptions).sink(schema=COLUMNS)
    result.acknowledged | beam.Map(print)
    proto = pipeline.to_runner_api().SerializeToString()
    assert_no_secret_in(proto)
    if flags:
        assert flags[-1].partition("=")[2].encode() in everything_in(proto)
    assert not set(SECRETS.values()) & set(json.dumps(options.get_all_options(), default=str).split('"'))


def test_the_templates_parameters_are_the_programs_flags():
    parser = files_to_zerobus.make_parser()
    ZerobusOptions._add_argparse_args(parser)
    parameters = json.loads(METADATA.read_text())["parameters"]
    actions = [action for action in parser._actions if action.dest != "profile"]  # a file of the user's own machine
    assert {each["name"]: each["helpText"] for each in parameters} == {
        action.option_strings[0].removeprefix("--"): action.help for action in actions
    }
    for parameter, action in zip(parameters, actions, strict=True):
        assert parameter["label"]
        assert parameter["isOptional"] == (parameter["name"] not in ("input", "zerobus_table"))
        assert (parameter.get("paramType") == "BOOLEAN") == (action.metavar == "true|false")
        for regex in parameter.get("regexes", []):
            assert all(re.fullmatch(regex, choice) for choice in action.choices)
            assert not re.fullmatch(regex, "another")
        assert ("regexes" in parameter) == bool(action.choices)


@pytest.fixture
def stubs(tmp_path: Path) -> dict[str, str]:
    """An environment in which docker and gcloud print their arguments."""
    if os.name == "nt":
        pytest.skip("the page's commands are for a POSIX shell")
    programs = tmp_path / "stubs"
    programs.mkdir()
    for name in ("docker", "gcloud"):
        program = programs / name
        program.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    addresses = {"ZEROBUS_ENDPOINT": "https://1.zerobus.example", "DATABRICKS_HOST": "https://w.example"}
    return {**os.environ, **SECRETS, **PLACES, **addresses, "PATH": path}


def printed_by(command: str, environment: dict[str, str]) -> list[str]:
    return json.loads(subprocess.check_output(["bash", "-c", command], env=environment, text=True, timeout=30))


def test_the_page_builds_the_image_and_the_template_and_shows_no_secret(stubs):
    build, push = (printed_by(command, stubs) for command in commands(PAGE, "The image"))
    assert build == ["build", "-f", str(CONTAINER_FILE.relative_to(ROOT)), "-t", PLACES["IMAGE"], "."]
    assert push == ["push", PLACES["IMAGE"]]
    for command in commands(PAGE, "Secrets"):
        assert not set(SECRETS.values()) & set(printed_by(command, stubs))
    build, run = (printed_by(command, stubs) for command in commands(PAGE, TEMPLATE))
    assert build[build.index("--metadata-file") + 1] == str(METADATA.relative_to(ROOT))
    assert build[build.index("--image") + 1] == PLACES["IMAGE"]
    assert build[3] == run[run.index("--template-file-gcs-location") + 1]


def test_the_page_launches_the_template_with_the_flags_of_the_terminal(stubs):
    run = printed_by(commands(PAGE, TEMPLATE)[1], stubs)
    given = dict(run[index + 1].split("=", 1) for index, argument in enumerate(run) if argument == "--parameters")
    launch = commands(PAGE, LAUNCH)[0].replace("python -m pipelines.files_to_zerobus", "gcloud")
    flags = argparse.Namespace(**dict(zip(*[iter(printed_by(launch, stubs))] * 2, strict=True)))
    from_terminal = {name.removeprefix("--"): value for name, value in vars(flags).items()}
    assert given.items() <= from_terminal.items()
    assert set(from_terminal) - set(given) == {"runner", "project", "region", "temp_location"}
    known = {parameter["name"] for parameter in json.loads(METADATA.read_text())["parameters"]}
    assert set(given) - known == {"sdk_container_image"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    built = Image(context=ROOT, directory=tmp_path_factory.mktemp("image"))
    built.build(CONTAINER_FILE)
    yield built
    shutil.rmtree(built.directory)  # some 700 MB


SUBMIT = """
import json, pathlib, runpy, sys
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

def run_pipeline(self, pipeline, options, *others):
    result = real(self, pipeline, options, *others)
    pathlib.Path("job.pb").write_bytes(self.proto_pipeline.SerializeToString())
    pathlib.Path("options.json").write_text(json.dumps(options.get_all_options(), default=str))
    return result

real, DataflowRunner.run_pipeline = DataflowRunner.run_pipeline, run_pipeline
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.dataflow
@pytest.mark.slow
@pytest.mark.timeout(900)
class TestImage:
    """Tests that need the image, which takes a minute or two to build."""

    def test_its_base_images_have_the_same_versions(self, image: Image) -> None:
        beam_image, launcher, system = image.bases
        version = re.fullmatch(r"apache/beam_python(3\.\d+)_sdk:([\d.]+)", beam_image)
        assert version
        assert system == f"python:{version[1]}-slim-bookworm"
        assert f"python{version[1].replace('.', '')}-template-launcher" in launcher
        assert f"Version: {version[2]}\n" in image.run("pip show apache-beam").stdout

    def test_the_launched_program_sends_rows(self, image: Image, zerobus: Emulator, tmp_path: Path) -> None:
        parquet.write_table(self.readings(), tmp_path / "in.parquet")
        image.run(
            f"python $FLEX_TEMPLATE_PYTHON_PY_FILE --input={tmp_path}/in.parquet --zerobus_table={TABLE}",
            **zerobus_environment(zerobus),
        )
        assert zerobus.table(TABLE).to_arrow().to_pylist() == self.readings().to_pylist()

    def test_the_job_has_no_secrets_and_nothing_to_install(
        self, image: Image, zerobus: Emulator, tmp_path: Path
    ) -> None:
        """By the page's command, but with files and secrets of this machine, and no request to Google."""
        parquet.write_table(self.readings(), tmp_path / "in.parquet")
        command = commands(PAGE, LAUNCH)[0]
        command = command.replace("gs://$BUCKET/readings/*.parquet", str(tmp_path / "in.parquet"))
        command = command.replace("gs://$BUCKET/dead-letters/today", str(tmp_path / "dead"))
        command = re.sub(r'--zerobus_client_(id|secret)_gcp_secret "\S+"', "", command)
        script = image.directory / "submit.py"
        script.write_text(SUBMIT)
        command = command.replace("-m pipelines.files_to_zerobus", f"{script} $FLEX_TEMPLATE_PYTHON_PY_FILE")
        image.run(f"{command} --dry_run=true --no_auth", **zerobus_environment(zerobus), **PLACES, TMPDIR=str(tmp_path))
        proto = (image.directory / "job.pb").read_bytes()
        assert_no_secret_in(proto)
        options = (image.directory / "options.json").read_text()
        assert all(secret not in options for secret in SECRETS.values())
        for environment in beam_runner_api_pb2.Pipeline.FromString(proto).components.environments.values():
            docker = beam_runner_api_pb2.DockerPayload.FromString(environment.payload)
            assert docker.container_image == PLACES["IMAGE"]
            staged = dict(map(staged_file, environment.dependencies))
            assert set(staged) <= {"pickled_main_session", "submission_environment_dependencies.txt"}
            for path in staged.values():
                assert all(secret.encode() not in everything_in(path.read_bytes()) for secret in SECRETS.values())

    def test_the_metadata_is_what_dataflow_reads(self, image: Image) -> None:
        image.run(
            'python -c "import sys; from google.cloud.dataflow_v1beta3.types import TemplateMetadata; '
            f"TemplateMetadata.from_json(open('{METADATA}').read(), ignore_unknown_fields=False)\""
        )

    @staticmethod
    def readings() -> pa.Table:
        return pa.table({"device": ["attic", "cellar"], "co2": pa.array([417, 655], pa.int32())})
