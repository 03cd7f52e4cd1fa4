"""The toolkit's key is nowhere but in its Secret: whole runs, then a search in objects, logs, metrics, reports, files.

The toolkit is the emulated TAO, which gets the key as an argument, as the real one does, and here even prints it. At the end the
key is planted in three places, and the same search has to find it in each of them and nowhere else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness import OPERATOR_NAMESPACE, ROOT, Failure, Object, Scenario, ended, job, stages
from needles import forms_in, needles

from scenarios.verdicts import bare, whole

KEY = "Qz7/plates+of:2026=Kx9%vW-3e"
"""With characters that every way of escaping changes."""
SECRET = "tao"
NAMES = ("tao-3", "tao-5", "wrong-key", "killed")
_OUT = ROOT / "build" / "e2e" / "no-key"
_EMULATE = """
import json, pathlib
for name, settings in json.loads({chosen!r}).items():
    folder = pathlib.Path('/data/experiments') / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'emulate.json').write_text(json.dumps(settings))
"""
_SEARCH = """
import json, os, pathlib, sys
sys.path.insert(0, '/search')
from needles import forms_in, needles
wanted = needles(os.environ['KEY'])
count, found = 0, []
for path in sorted(pathlib.Path('/data').rglob('*')):
    if path.is_file():
        count += 1
        forms = forms_in(path.read_bytes().decode('latin-1'), wanted) + forms_in(path.name, wanted)
        if forms:
            found.append(f'{path}: {", ".join(forms)}')
print(json.dumps({'files': count, 'found': found}))
"""


def run(scenario: Scenario) -> None:
    """The scenario."""
    scenario.fresh_namespace(pod_security="baseline")
    scenario.make_dataset(train=24, validation=8, test=4)
    scenario.kubectl("create", "secret", "generic", SECRET, f"--from-literal=key={KEY}")
    scenario.kubectl("create", "configmap", "search", f"--from-file={ROOT / 'tests/e2e/needles.py'}")
    loud = {"train": "echo-key", "prune": "echo-key", "export": "echo-key"}
    settings = {
        "tao-3": {"failures": loud, "delay": 0.2},
        "tao-5": {"dialect": "5.0", "failures": loud},
        "wrong-key": {"failures": {"train": "echo-key", "export": "export-wrong-key"}},
        "killed": {"failures": {"train": "long-line,host-oom"}, "at": 3},
    }
    scenario.in_workspace(_EMULATE.format(chosen=json.dumps(settings)))
    failing = bare("wrong-key", export={"format": "etlt"}), bare("killed")
    scenario.apply(whole("tao-3"), whole("tao-5"), *failing)
    live: dict[str, str] = {}
    for name in NAMES:
        one = scenario.wait(name, ended, seconds=900, tick=lambda e: live.update(live_metrics(scenario, e)))
        scenario.facts[name] = {stage: s.get("message") for stage, s in stages(one).items() if s["state"] == "Failed"}
    scenario.check(all("Complete" in conditions(scenario, name) for name in NAMES[:2]), "two experiments are complete")
    scenario.check(all("Failed" in conditions(scenario, name) for name in NAMES[2:]), "two have failed")
    places = in_the_cluster(scenario) | commands(scenario) | live
    scenario.facts["places"] = {"number": len(places), "bytes": sum(map(len, places.values()))}
    check_the_key_was_in_play(scenario, places)
    found = search(places)
    scenario.check(not found, f"in {len(places)} places outside the workspace: {found or 'the key is in none'}")
    files = search_workspace(scenario)
    scenario.facts["files"] = files["files"]
    clean = files["files"] > 50 and not files["found"]
    scenario.check(clean, f"in {files['files']} files of the workspace: {files['found'] or 'in none'}")
    check_the_search_finds(scenario)


def conditions(scenario: Scenario, name: str) -> set[str]:
    """Those that are true."""
    return {c["type"] for c in scenario.get("yexp", name)["status"]["conditions"] if c["status"] == "True"}


def check_the_key_was_in_play(scenario: Scenario, places: dict[str, str]) -> None:
    """The toolkit had it and printed it: it is masked where it would stand."""
    logs = [text for place, text in places.items() if place.startswith("log ") and "-train-" in place]
    scenario.check(any("the key is ***" in text for text in logs), "the toolkit printed it, and it is masked")
    digest = scenario.in_workspace(
        "import pathlib; (m,) = list(pathlib.Path('/data/experiments/tao-3/stages').glob('train-*/**/*_008.tlt'))[:1];"
        "print(m.read_text().split()[3])"
    )
    scenario.check(digest.strip() == hashlib.sha256(KEY.encode()).hexdigest(), "the models are made with this very key")


# --- where it could be ---


def in_the_cluster(scenario: Scenario) -> dict[str, str]:
    """Texts by place: objects of both namespaces, logs, metrics."""
    found: dict[str, str] = {}
    for namespace in (scenario.namespace, OPERATOR_NAMESPACE):
        for body in objects(namespace):
            meta, kind = body["metadata"], body["kind"]
            if (kind, meta["name"], namespace) != ("Secret", SECRET, scenario.namespace):
                found[f"object {kind} {namespace}/{meta['name']}"] = json.dumps(body, ensure_ascii=False)
            if kind == "Pod":
                found |= logs(namespace, body)
    found["metrics of the operator"] = raw(f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/services/yolo-operator:8080/proxy/metrics")
    return found


def objects(namespace: str) -> list[Object]:
    """Everything that a namespace holds, of every kind that can be listed."""
    kinds = output("kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    found: list[Object] = []
    for kind in kinds:
        if not kind.endswith(".metrics.k8s.io"):
            found += json.loads(output("kubectl", "get", kind, "-n", namespace, "-o", "json", "--show-managed-fields"))["items"]
    return found


def logs(namespace: str, pod: Object) -> dict[str, str]:
    """What each container of a pod said, also before it was started anew."""
    found = {}
    for container in pod["status"].get("containerStatuses", []):
        for previous in (False, True) if container["restartCount"] else (False,):
            command = ["kubectl", "logs", "-n", namespace, pod["metadata"]["name"], "-c", container["name"]]
            command += ["--previous"] if previous else []
            done = subprocess.run(command, capture_output=True, timeout=120, check=False)
            found[f"log {namespace}/{pod['metadata']['name']} {container['name']} {previous}"] = done.stdout.decode("latin-1")
    return found


def live_metrics(scenario: Scenario, experiment: Object) -> dict[str, str]:
    """What a running training shows to Prometheus."""
    train = stages(experiment).get("train", {})
    if train.get("state") != "Running":
        return {}
    pods = scenario.get("pods", selector=f"batch.kubernetes.io/job-name={train['job']}")["items"]
    found = {}
    for name in (pod["metadata"]["name"] for pod in pods):
        text = raw(f"/api/v1/namespaces/{scenario.namespace}/pods/{name}:9402/proxy/metrics")
        if "yolo_" in text:
            found[f"metrics of {name}"] = text
    return found


def commands(scenario: Scenario) -> dict[str, str]:
    """What `kubectl yolo` says of every experiment."""
    _OUT.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in NAMES:
        page = _OUT / f"{name}.html"
        yolo(scenario, "report", name, "-o", str(page))
        found[f"kubectl yolo report {name}"] = page.read_text()
        written = _OUT / f"{name}.json"
        written.write_text(json.dumps(whole(name) if name.startswith("tao") else bare(name)))
        for words in (["summary", name, "-o", "json"], ["status", name, "-o", "yaml"], ["logs", name, "--stage", "train"]):
            found["kubectl yolo " + " ".join(words)] = yolo(scenario, *words)
        for words in (["render", str(written), "--stage", "train"], ["validate", str(written)]):
            found["kubectl yolo " + " ".join(words)] = yolo(scenario, *words)
    found["kubectl yolo compare"] = yolo(scenario, "compare", *NAMES)
    found["kubectl yolo list"] = yolo(scenario, "list")
    return found


def yolo(scenario: Scenario, *words: str) -> str:
    """What one command prints, to both of its outputs."""
    namespace = [] if words[0] in ("render", "validate") else ["-n", scenario.namespace]
    program = [str(Path(sys.executable).parent / "kubectl-yolo"), *words, *namespace]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    done = subprocess.run(program, capture_output=True, text=True, timeout=180, check=False, env=environment)
    if done.returncode:
        raise Failure(f"kubectl yolo {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout + done.stderr


def raw(path: str) -> str:
    """A page by way of the API server; empty when it does not answer."""
    done = subprocess.run(["kubectl", "get", "--raw", path], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout


def output(*command: str) -> str:
    """Standard output of a command."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


# --- the search ---


def search(places: dict[str, str]) -> list[str]:
    """Where the key is, and in which form."""
    wanted = needles(KEY)
    return [f"{place}: {', '.join(forms)}" for place, text in places.items() if (forms := forms_in(text, wanted))]


def search_workspace(scenario: Scenario) -> dict[str, Any]:
    """In every file of the claim, by a pod that has the key from the Secret, as a stage has it."""
    answer: dict[str, Any] = json.loads(with_key(scenario, "search", ["python3", "-c", _SEARCH]))
    return answer


def with_key(scenario: Scenario, name: str, command: list[str]) -> str:
    """What a Job with the key in its environment prints."""
    body = job(name, command, volumes={"search": {"configMap": {"name": "search"}}})
    reference = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "key"}}}
    body["spec"]["template"]["spec"]["containers"][0]["env"].append(reference)
    scenario.apply(body)
    scenario.kubectl("wait", "--for=condition=Complete", f"job/{name}", "--timeout=120s", timeout=130)
    return scenario.kubectl("logs", f"job/{name}")


def check_the_search_finds(scenario: Scenario) -> None:
    """A search that cannot fail would show nothing."""
    encoded = base64.b64encode(f"key={KEY}\n".encode()).decode()
    scenario.kubectl("create", "configmap", "planted", f"--from-literal=data={encoded}")
    script = "import os, urllib.parse as u; key = os.environ['KEY']; print(key)"
    script += "; open('/data/planted.txt', 'w').write(u.quote(key))"
    with_key(scenario, "planted", ["python3", "-c", script])
    found = search(in_the_cluster(scenario))
    expected = {f"object ConfigMap {scenario.namespace}/planted", f"log {scenario.namespace}/planted"}
    told = {place for place in expected if any(line.startswith(place) for line in found)}
    scenario.facts["planted"] = found
    scenario.check(told == expected and len(found) == 2, f"planted in an object and a log, it is found there alone: {found}")
    files = search_again(scenario)
    scenario.check(
        [line.partition(":")[0] for line in files] == ["/data/planted.txt"], f"planted in a file, it is found: {files}"
    )


def search_again(scenario: Scenario) -> list[str]:
    """The files of a second search."""
    scenario.kubectl("delete", "job", "search", "--wait")
    return list(search_workspace(scenario)["found"])
