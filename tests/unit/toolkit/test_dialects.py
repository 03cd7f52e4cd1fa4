"""What each toolkit is given, and what must come of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import ValidationError
from yolo_operator.api.spec import Spec
from yolo_operator.api.toolkit import Profile
from yolo_operator.toolkit.dialects import Dialect, dialect
from yolo_operator.toolkit.dialects.base import KeyUse
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
    assert [dialect(profile).profile for profile in Profile] == list(Profile)


def test_facts() -> None:
    old, new, free = (dialect(profile) for profile in Profile)
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
    shown = {command.task: set(command.expect) - {"statusFile"} for command in all_commands(build(), data)}
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
