"""What each toolkit is given, and what must come of it."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from yolo_operator.api.spec import Spec, parse_spec
from yolo_operator.dialects import DIALECTS, guess, names
from yolo_operator.dialects.base import KeyUse
from yolo_operator.toolkit.dialects import Dialect, dialect
from yolo_operator.toolkit.invocation import KEY_TOKEN, DataPaths, Invocation
from yolo_operator.toolkit.spec_text import experiment_text

Build = Callable[..., Spec]
DIRECTORY = "/yolov4/stages/x"
MODEL = "/yolov4/stages/train/result/weights/yolov4_resnet18_epoch_080.hdf5"


def of(spec: Spec) -> Dialect:
    return dialect(spec.toolkit.profile)


def flag(invocation: Invocation, name: str) -> str | None:
    """The value behind a flag."""
    return dict(pairwise(invocation.argv)).get(name)


def all_commands(spec: Spec, data: DataPaths) -> list[Invocation]:
    known = of(spec)
    return [
        known.anchors(spec, data, DIRECTORY),
        known.train(spec, DIRECTORY, epochs=80, checkpoint="best"),
        known.evaluate(spec, DIRECTORY, MODEL),
        known.prune(spec, DIRECTORY, MODEL, 0.5),
        known.export(spec, DIRECTORY, MODEL, data),
        known.inference(spec, DIRECTORY, MODEL, "/yolov4/dataset/test"),
    ]


@pytest.fixture(params=["tao", "tao_5", "cpu"])
def build(request: pytest.FixtureRequest) -> Build:
    """The example on each toolkit, with computed anchors."""
    make: Build = request.getfixturevalue(request.param)
    return lambda **patches: make(**{"anchors": {"auto": {"count": 9}}, **patches})


# --- every toolkit ---


def test_every_profile_has_its_dialect() -> None:
    assert [dialect(name).profile for name in names()] == list(DIALECTS) == ["tao-3.21.11", "tao-5.0", "open"]


def test_facts() -> None:
    old, new, free = DIALECTS.values()
    assert [known.checkpoint_suffix for known in (old, new, free)] == [".tlt", ".hdf5", ".pth"]
    assert [known.export_suffix for known in (old, new, free)] == [".etlt", ".onnx", ".onnx"]
    assert [known.default_gpus for known in (old, new, free)] == [1, 1, 0]
    assert [known.needs_gpu for known in (old, new, free)] == [True, True, False]
    assert [known.sees_cpu_limit for known in (old, new, free)] == [False, False, True]
    assert [known.default_shared_memory for known in (old, new, free)] == ["16Gi", "16Gi", "512Mi"]
    assert [known.run_as_user for known in (old, new, free)] == [None, None, 65532]
    assert [known.key for known in (old, new, free)] == [KeyUse.REQUIRED, KeyUse.OPTIONAL, KeyUse.NONE]
    assert [known.qat_on_pruned for known in (old, new, free)] == [False, False, True]
    assert [known.evaluates_export for known in (old, new, free)] == [False, False, True]
    assert new.environment == {"TELEMETRY_OPT_OUT": "1"}


@pytest.mark.parametrize("name", ["tao", "tao_5", "cpu"])
def test_without_a_gpu_runs_what_the_toolkit_runs_without(name: str, request: pytest.FixtureRequest) -> None:
    make: Build = request.getfixturevalue(name)
    facts = dialect(make().toolkit.profile)
    assert facts.gpus(make(), "train") == facts.default_gpus
    if facts.needs_gpu:
        with pytest.raises(ValidationError, match="TAO looks for a GPU"):
            make(resources={"gpus": 0})
    else:
        assert facts.gpus(make(resources={"gpus": 0}), "train") == 0


def test_gpus_by_claim_are_counted_as_gpus(request: pytest.FixtureRequest) -> None:
    make: Build = request.getfixturevalue("tao")
    spec = make(resources={"dra": {"deviceClassName": "gpu.nvidia.com", "count": 4}})
    command = dialect(spec.toolkit.profile).train(spec, DIRECTORY, epochs=80).argv
    assert command[command.index("--gpus") + 1] == "4"


def test_the_subcommand_comes_first_and_every_word_is_safe_in_a_shell(build: Build, data: DataPaths) -> None:
    commands = all_commands(build(), data)
    assert [command.argv[:2] for command in commands] == [("yolo_v4", command.task) for command in commands]
    assert [command.task for command in commands] == ["kmeans", "train", "evaluate", "prune", "export", "inference"]
    safe = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-")
    assert all(word == KEY_TOKEN or set(word) <= safe for command in commands for word in command.argv)


def test_what_is_written_and_expected_lies_in_the_stages_directory(build: Build, data: DataPaths) -> None:
    for command in all_commands(build(), data):
        outputs = [entry["path"] for kind in ("files", "directories") for entry in command.expect.get(kind, ())]
        outputs += [*command.directories, command.expect.get("statusFile", DIRECTORY + "/")]
        assert all(path.startswith(DIRECTORY + "/") for path in outputs), command


def test_every_success_is_shown_by_something(build: Build, data: DataPaths) -> None:
    shown = {command.task: set(command.expect) - {"statusFile", "calibration"} for command in all_commands(build(), data)}
    assert shown == {
        "kmeans": {"metrics"},
        "train": {"checkpoints", "metrics"},
        "evaluate": {"metrics"},
        "prune": {"files", "metrics"},
        "export": {"files"},
        "inference": {"directories"},
    }


def test_training_resumes_from_where_its_checkpoints_are(build: Build) -> None:
    spec = build()
    command = of(spec).train(spec, DIRECTORY, epochs=80, checkpoint="best")
    suffix = of(spec).checkpoint_suffix
    assert command.resume == {"weights": f"{DIRECTORY}/result/weights", "suffix": suffix, "epochs": 80}
    assert command.expect["checkpoints"] == {"directory": f"{DIRECTORY}/result/weights", "suffix": suffix}
    assert command.directories == (f"{DIRECTORY}/result",)


def test_stages_that_the_spec_does_not_have_cannot_be_run(build: Build, data: DataPaths) -> None:
    spec = build(prune=None, retrain=None, export=None)
    for run in (
        lambda: of(spec).prune(spec, DIRECTORY, MODEL, 0.5),
        lambda: of(spec).export(spec, DIRECTORY, MODEL, data),
        lambda: of(spec).anchors(spec.model_copy(update={"anchors": None}), data, DIRECTORY),
    ):
        with pytest.raises(ValueError, match=r"spec\.\w+ is not set"):
            run()


def test_flags_that_say_what_the_toolkit_does_anyway_are_left_out(build: Build, data: DataPaths) -> None:
    _, *commands = all_commands(build(), data)  # k-means has its -n in the workflow
    words = {word for command in commands for word in command.argv}
    assert not words & {"-n", "-pg", "-nf", "-el", "-t", "--gpus"}


def test_anchors_in_detail(build: Build, data: DataPaths) -> None:
    spec = build(anchors={"auto": {"count": 6, "maxSteps": 500, "minWidth": 2, "minHeight": 3}})
    command = of(spec).anchors(spec, data, DIRECTORY)
    assert [flag(command, name) for name in ("-n", "--max_steps", "--min_x", "--min_y")] == ["6", "500", "2", "3"]


def test_pruning_in_detail(build: Build) -> None:
    spec = build(
        prune__normalizer="L2",
        prune__pruningGranularity=4,
        prune__minNumFilters=32,
        prune__excludedLayers=["conv_a", "conv_b"],
        prune__equalizationCriterion="intersection",
    )
    command = of(spec).prune(spec, DIRECTORY, MODEL, 1e-5)
    assert [flag(command, name) for name in ("-eq", "-pth", "-n", "-pg", "-nf")] == ["intersection", "1e-5", "L2", "4", "32"]
    at = command.argv.index("-el")
    assert command.argv[at + 1 : at + 3] == ("conv_a", "conv_b")
    assert command.argv[at + 3 :] == () or command.argv[at + 3].startswith("-")


def test_the_inference_threshold(build: Build) -> None:
    spec = build(inference__threshold=0.55)
    assert flag(of(spec).inference(spec, DIRECTORY, MODEL, "/images"), "-t") == "0.55"


@pytest.mark.parametrize(
    ("resources", "stages", "train", "retrain"),
    [
        ({}, {}, None, None),
        ({"gpus": 1}, {}, None, None),
        ({"gpus": 2}, {}, "2", "2"),
        ({"gpus": 2}, {"retrain": {"resources": {"gpus": 1}}}, "2", None),
        ({}, {"train": {"resources": {"gpus": 4}}, "retrain": {"resources": {"requests": {"cpu": "1"}}}}, "4", None),
        ({"gpus": 8}, {"train": {"retry": {"limit": 1}}}, "8", "8"),
    ],
)
def test_more_than_one_gpu_is_said_for_training_only(
    resources: dict[str, object], stages: dict[str, object], train: str | None, retrain: str | None, build: Build, data: DataPaths
) -> None:
    spec = build(resources=resources, stages=stages)
    assert flag(of(spec).train(spec, DIRECTORY, epochs=1), "--gpus") == train
    assert flag(of(spec).train(spec, DIRECTORY, epochs=1, stage="retrain"), "--gpus") == retrain
    others = [command for command in all_commands(spec, data) if command.task != "train"]
    assert not any("--gpus" in command.argv for command in others)


# --- TAO 3.21.11 ---


def test_tao_3_never_names_a_results_directory_but_for_training(tao: Build, data: DataPaths) -> None:
    commands = all_commands(tao(anchors={"auto": {}}), data)
    assert not any("--results_dir" in command.argv or "statusFile" in command.expect for command in commands)
    assert [command.task for command in commands if "-r" in command.argv] == ["train"]


def test_tao_3_has_its_key_in_every_command_that_opens_a_model(tao: Build, data: DataPaths) -> None:
    commands = all_commands(tao(anchors={"auto": {}}), data)
    keyed = ["train", "evaluate", "prune", "export", "inference"]
    assert [command.task for command in commands if flag(command, "-k") == KEY_TOKEN] == keyed


def test_tao_3_exports(tao: Build, data: DataPaths) -> None:
    spec = tao(export={"format": "etlt", "dataType": "fp16"})
    command = of(spec).export(spec, DIRECTORY, MODEL, data)
    output = f"{DIRECTORY}/yolov4_resnet18_epoch_080-fp16.etlt"
    assert command.argv[2:] == (
        "-m",
        MODEL,
        "-k",
        KEY_TOKEN,
        "-o",
        output,
        "-e",
        f"{DIRECTORY}/config.txt",
        "--data_type",
        "fp16",
    )
    assert command.expect == {"files": [{"name": "model", "path": output}]}


def test_tao_3_measures_int8_ranges_on_images(tao: Build, data: DataPaths) -> None:
    command = of(tao()).export(tao(), DIRECTORY, MODEL, data)
    expected = ["int8", "/yolov4/dataset/train/images", "256", "8"]
    assert [flag(command, name) for name in ("--data_type", "--cal_image_dir", "--batches", "--batch_size")] == expected
    assert command.expect["files"][1] == {"name": "calibration", "path": f"{DIRECTORY}/cal.bin"}
    # A half-written one would be taken up: it must not outlive the pod.
    assert str(flag(command, "--cal_data_file")).startswith("/tmp/")


def test_tao_3_takes_the_ranges_of_a_qat_model(tao: Build, data: DataPaths) -> None:
    spec = tao(experimentSpec__trainingConfig__enableQat=True)
    command = of(spec).export(spec, DIRECTORY, MODEL, data)
    assert flag(command, "--cal_cache_file") == f"{DIRECTORY}/cal.bin"
    assert "--cal_image_dir" not in command.argv


@pytest.mark.parametrize(
    ("patches", "directory"),
    [
        ({"export__calibration": None}, "/yolov4/dataset/train/images"),
        ({"export__calibration": {"images": "more/images"}}, "/yolov4/more/images"),
        ({"export__calibration": {"images": "/more/images"}}, "/more/images"),
        ({"export__calibration": {"images": "more/images"}, "dataset__claimName": "data"}, "/dataset/more/images"),
    ],
)
def test_calibration_images(patches: dict[str, object], directory: str, tao: Build, data: DataPaths) -> None:
    spec = tao(**patches)
    assert flag(of(spec).export(spec, DIRECTORY, MODEL, data), "--cal_image_dir") == directory


# --- TAO 5.0 ---


def test_tao_5_leaves_a_status_file_everywhere(tao_5: Build, data: DataPaths) -> None:
    commands = all_commands(tao_5(anchors={"auto": {}}), data)
    assert all("statusFile" in command.expect for command in commands)
    told = {command.task for command in commands if flag(command, "--results_dir") == f"{DIRECTORY}/result"}
    assert told == {"kmeans", "evaluate", "prune", "export"}


def test_tao_5_has_a_key_only_when_there_is_one(tao_5: Build, data: DataPaths) -> None:
    assert not any("-k" in command.argv for command in all_commands(tao_5(anchors={"auto": {}}), data))
    keyed = tao_5(anchors={"auto": {}}, toolkit={"profile": "tao-5.0", "encryptionKeySecretRef": {"name": "tao", "key": "key"}})
    assert [flag(command, "-k") for command in all_commands(keyed, data)] == [None, *[KEY_TOKEN] * 5]


def test_tao_5_appends_no_suffix_of_its_own(tao_5: Build, data: DataPaths) -> None:
    spec = tao_5()
    assert str(flag(of(spec).prune(spec, DIRECTORY, MODEL, 0.5), "-o")).endswith("_pruned.hdf5")
    assert str(flag(of(spec).export(spec, DIRECTORY, MODEL, data), "-o")).endswith(".onnx")


def test_tao_5_infers_into_one_directory(tao_5: Build) -> None:
    command = of(tao_5()).inference(tao_5(), DIRECTORY, MODEL, "/images")
    assert command.argv[2:] == ("-i", "/images", "-r", DIRECTORY, "-e", f"{DIRECTORY}/config.txt", "-m", MODEL)
    assert [entry["path"] for entry in command.expect["directories"]] == [f"{DIRECTORY}/labels", f"{DIRECTORY}/images_annotated"]


@pytest.mark.parametrize(
    ("patches", "calibrated", "flags"),
    [
        ({"export__dataType": "fp32"}, None, set()),
        ({"export__dataType": "fp16"}, None, set()),
        (
            {"export__dataType": "int8", "experimentSpec__trainingConfig__enableQat": True},
            "calibration.json",
            {"--cal_json_file"},
        ),
        (
            {"export__dataType": "int8"},
            "cal.bin",
            {
                "--data_type",
                "--cal_data_file",
                "--cal_image_dir",
                "--cal_cache_file",
                "--batches",
                "--batch_size",
                "--engine_file",
            },
        ),
    ],
)
def test_tao_5_exports_the_same_model_and_int8_ranges_beside_it(
    patches: dict[str, object], calibrated: str | None, flags: set[str], tao_5: Build, data: DataPaths
) -> None:
    spec = tao_5(**patches)
    command = of(spec).export(spec, DIRECTORY, MODEL, data)
    assert {word for word in command.argv if word.startswith("--")} - {"--results_dir"} == flags
    files = {entry["name"]: entry["path"] for entry in command.expect["files"]}
    assert files.get("calibration") == (f"{DIRECTORY}/{calibrated}" if calibrated else None)


# --- the open toolkit ---


def test_the_open_toolkit_has_a_status_file_everywhere_and_never_a_key(cpu: Build, data: DataPaths) -> None:
    spec = cpu(toolkit={"profile": "open", "encryptionKeySecretRef": {"name": "tao", "key": "key"}})
    commands = all_commands(spec, data)
    assert all("statusFile" in command.expect for command in commands)
    assert not any("-k" in command.argv for command in commands)


def test_the_open_toolkit_calibrates_only_without_qat(cpu: Build, data: DataPaths) -> None:
    quantised = of(cpu()).export(cpu(), DIRECTORY, MODEL, data)
    assert flag(quantised, "--data_type") == "int8"
    assert "--cal_image_dir" not in quantised.argv
    plain = cpu(retrain__enableQat=False)
    command = of(plain).export(plain, DIRECTORY, MODEL, data)
    assert [flag(command, name) for name in ("--cal_image_dir", "--batches", "--batch_size")] == [data.train_images, "10", "8"]


def test_qat_counts_only_where_it_takes_effect(tao: Build, cpu: Build) -> None:
    assert not of(tao()).quantised(tao())  # TAO ignores it on a pruned model
    assert of(cpu()).quantised(cpu())
    assert not of(cpu()).quantised(cpu(retrain=None))


def test_the_open_toolkit_understands_its_commands_and_its_spec(
    cpu: Build, data: DataPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3] / "open-toolkit")
    command_line = importlib.import_module("yolo_v4.cli")
    specs = importlib.import_module("yolo_v4.spec")
    plain = cpu(retrain__enableQat=False, inference__threshold=0.5, prune__excludedLayers=["a", "b"], resources={"gpus": 2})
    for command in [*all_commands(cpu(), data), *all_commands(plain, data)]:
        assert command_line.parse(command.argv[1:]).task == command.task
    anchors = [[side, side] for side in range(8, 17)]
    for pruned in (None, "/workspace/stages/prune/model.pth"):
        experiment = specs.parse_spec(experiment_text(cpu(), data, anchors=anchors, pruned_model=pruned))
        assert experiment.open_config.width_multiplier == 0.25
        assert experiment.training_config.enable_qat is (pruned is not None)


# --- which toolkit it is ---


@pytest.mark.parametrize(
    ("image", "profile"),
    [
        ("nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.4-py3", "tao-3.21.11"),
        ("nvcr.io/nvidia/tao/tao-toolkit-tf:v3.21.11-tf1.15.5-py3", "tao-3.21.11"),
        ("registry.example:5000/mirror/tao-toolkit-tf:v3.21.11", "tao-3.21.11"),
        ("nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf1.15.5", "tao-5.0"),
        ("yolo-operator/open-toolkit:dev", "open"),
        ("open-toolkit", "open"),
        ("registry.example/open-toolkit@sha256:0123", "open"),
        ("nvcr.io/nvidia/tao/tao-toolkit-tf:v3.22.05-tf1.15.5-py3", None),
        ("nvcr.io/nvidia/tao/tao-toolkit:5.0.0-pyt", None),
        ("nvcr.io/nvidia/tao/tao-toolkit:5.0.0-tf2.11.0", None),
        ("registry.example/my-open-toolkit-fork:1", None),
        ("registry.example/not-open-toolkit:1", None),
        ("", None),
        (None, None),
    ],
)
def test_a_known_image_tells_its_profile(image: str | None, profile: str | None) -> None:
    assert guess(image) == profile


def test_a_profiles_own_image_tells_it() -> None:
    assert [guess(known.default_image) for known in DIALECTS.values()] == list(names())


def test_image_patterns_can_stand_in_cel() -> None:
    assert not any(set(pattern) & set("\\'\"") for known in DIALECTS.values() for pattern in known.images)


def test_an_experiment_with_a_known_image_needs_no_profile(tao: Build, data: DataPaths) -> None:
    told = tao(toolkit__profile=None)
    assert told.toolkit.profile == "tao-3.21.11"
    assert all_commands(tao(toolkit__profile=None, anchors={"auto": {}}), data) == all_commands(tao(anchors={"auto": {}}), data)
    assert told.toolkit == parse_spec(told.dump()).toolkit


def test_a_profile_that_is_named_goes_before_the_image(tao: Build) -> None:
    assert tao(toolkit__image="registry.example/open-toolkit:1").toolkit.profile == "tao-3.21.11"


NEW_DIALECT = """
from dataclasses import dataclass, replace
from yolo_operator.dialects.tao_5_0 import Tao50, DIALECT as TAO_5_0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tao60(Tao50):
    def inference(self, spec, directory, model, images):
        return self._invocation("inference", ["--where", images], directory, {})


DIALECT = Tao60(**{name: getattr(TAO_5_0, name) for name in TAO_5_0.__dataclass_fields__} | {
    "profile": "tao-6.0", "title": "NVIDIA TAO 6.0", "order": 2.5, "default_image": "nvcr.io/nvidia/tao/tao-toolkit:6.0.0-tf1",
    "images": ("tao-toolkit:6[.]0",), "export_formats": ("etlt", "onnx"), "data_types": ("fp32",), "engine": False,
})
"""
USE_OF_IT = """
import json, sys
from yolo_operator.api import crd
from yolo_operator.api.spec import parse_spec
from yolo_operator.toolkit.dialects import dialect

raw = json.load(sys.stdin)
raw["toolkit"] = {"image": "mirror.example/tao-toolkit:6.0.1-tf1"}
raw["export"] = {"format": "etlt"}
spec = parse_spec(raw)
print(*dialect(spec.toolkit.profile).inference(spec, "/d", "/m", "/images").argv)
schema = crd.custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
print(*schema["properties"]["toolkit"]["properties"]["profile"]["enum"])
print(any("tao-toolkit:6[.]0" in rule["rule"] for rule in schema["x-kubernetes-validations"]))
for wrong in ({"export": {"format": "etlt", "engine": {}}}, {"export": {"format": "etlt", "dataType": "fp16"}}):
    try:
        parse_spec({**raw, **wrong})
    except ValueError as error:
        print(error.errors()[0]["msg"])
"""


def test_one_file_is_a_new_toolkit(tao: Build, tmp_path: Path) -> None:
    """Copied with one more file, the operator has its profile in the CRD, in the rules, in what images tell, and its commands."""
    source = Path(__file__).parents[3] / "operator" / "yolo_operator"
    shutil.copytree(source, tmp_path / "yolo_operator", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "yolo_operator" / "dialects" / "tao_6_0.py").write_text(NEW_DIALECT)
    run = subprocess.run(
        [sys.executable, "-c", USE_OF_IT],
        env={"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        input=json.dumps(tao().dump()),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "yolo_v4 inference --where /images --results_dir /d/result",
        "tao-3.21.11 tao-5.0 tao-6.0 open",
        "True",
        "Value error, export.engine: only tao-3.21.11 and tao-5.0 build TensorRT engines",
        "Value error, export.dataType: the toolkit exports other precisions "
        "(tao-3.21.11: fp32, fp16, int8; tao-5.0: fp32, fp16, int8; tao-6.0: fp32; open: fp32, int8)",
    ]


# --- calibration, engines, DeepStream, mixed precision ---


def test_ranges_can_come_from_a_tensorfile(tao: Build, tao_5: Build, data: DataPaths) -> None:
    for build in (tao, tao_5):
        spec = build(export__dataType="int8", export__calibration={"tensorfile": "calibration.tensors", "batches": 4})
        command = of(spec).export(spec, DIRECTORY, MODEL, data)
        assert flag(command, "--cal_data_file") == "/yolov4/calibration.tensors"
        assert "--cal_image_dir" not in command.argv
        assert flag(command, "--batches") == "4"
        # One that is not there would be made of random numbers.
        assert command.reads == ("/yolov4/calibration.tensors",)


def test_images_that_ranges_are_measured_on_must_be_there(tao: Build, cpu: Build, data: DataPaths) -> None:
    command = of(tao()).export(tao(), DIRECTORY, MODEL, data)
    assert command.reads == ("/yolov4/dataset/train/images",)
    (images,) = command.expect["calibration"]
    assert images == {"path": command.reads[0], "suffixes": [".jpg", ".jpeg", ".png"], "atLeast": 256 * 8}
    plain = cpu(retrain__enableQat=False, export__calibration={"images": "some"})
    assert of(plain).export(plain, DIRECTORY, MODEL, data).reads == ("/dataset/some",)
    assert of(cpu()).export(cpu(), DIRECTORY, MODEL, data).reads == ()


def test_deepstreams_files_with_the_key_masked(build: Build, data: DataPaths) -> None:
    plain, wanted = build(), build(export__genDsConfig=True)
    before, after = (of(spec).export(spec, DIRECTORY, MODEL, data) for spec in (plain, wanted))
    assert set(after.argv) - set(before.argv) == {"--gen_ds_config"}
    extra = [file for file in after.expect["files"] if file not in before.expect["files"]]
    masked = {"maskKey": True} if "-k" in after.argv else {}
    assert extra == [
        {"name": "labels", "path": f"{DIRECTORY}/labels.txt"},
        {"name": "deepstream", "path": f"{DIRECTORY}/nvinfer_config.txt", **masked},
    ]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("quantised", [False, True])
def test_an_engine(precision: str, quantised: bool, tao: Build, tao_5: Build, data: DataPaths) -> None:
    engine = {"optBatchSize": 4, "maxBatchSize": 8, "maxWorkspaceSize": 1 << 30, "strictTypes": True}
    for build in (tao, tao_5):
        spec = build(
            export__dataType=precision,
            export__calibration=None,
            export__engine=engine,
            experimentSpec__trainingConfig__enableQat=quantised,
        )
        command = of(spec).export(spec, DIRECTORY, MODEL, data)
        assert flag(command, "--data_type") == precision
        assert flag(command, "--engine_file") == f"{DIRECTORY}/model.engine"
        assert [flag(command, f"--{size}_batch_size") for size in ("min", "opt", "max")] == [None, "4", "8"]
        assert flag(command, "--max_workspace_size") == str(1 << 30)
        assert "--strict_type_constraints" in command.argv
        files = {file["name"]: file["path"] for file in command.expect["files"]}
        assert files["engine"] == f"{DIRECTORY}/model.engine"
        assert (flag(command, "--cal_cache_file") is not None) == (precision == "int8")
        # TAO refuses a calibration cache that an earlier attempt has left: the runner clears what is expected.
        assert precision != "int8" or f"{DIRECTORY}/cal.bin" in files.values()
        assert ("--cal_image_dir" in command.argv) == (precision == "int8" and not quantised)


def test_mixed_precision_is_said_for_training_only(tao: Build, tao_5: Build, data: DataPaths) -> None:
    def stages(spec: Spec) -> list[bool]:
        return [
            "--use_amp" in of(spec).train(spec, DIRECTORY, epochs=1, stage=stage).argv  # type: ignore[arg-type]
            for stage in ("train", "retrain")
        ]

    for build in (tao, tao_5):
        assert stages(build()) == [False, False]
        assert stages(build(train__useAmp=True)) == [True, True]
        assert stages(build(train__useAmp=True, retrain__useAmp=False)) == [True, False]
        assert stages(build(retrain__useAmp=True)) == [False, True]
        everywhere = build(train__useAmp=True, anchors={"auto": {}})
        assert [c.task for c in all_commands(everywhere, data) if "--use_amp" in c.argv] == ["train"]


def test_the_example_for_tao_5(data: DataPaths) -> None:
    """Told by its image, quantisation-aware throughout, with an engine."""
    manifest = yaml.safe_load((Path(__file__).parents[3] / "examples" / "license-plate-tao-5.yaml").read_text())
    spec = parse_spec(manifest["spec"])
    assert spec.toolkit.profile == "tao-5.0"
    assert "--use_amp" in of(spec).train(spec, DIRECTORY, epochs=1, stage="retrain").argv
    export = of(spec).export(spec, DIRECTORY, MODEL, data)
    assert flag(export, "--data_type") == "int8"
    assert flag(export, "--cal_json_file") == f"{DIRECTORY}/calibration.json"
    assert "--cal_image_dir" not in export.argv
    names = [file["name"] for file in export.expect["files"]]
    assert names == ["model", "labels", "deepstream", "calibration", "calibrationCache", "engine"]
