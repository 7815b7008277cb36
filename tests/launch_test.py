"""That what launch/ holds fits together and does what it says; tests/slurm_test.py runs the Slurm script."""

import copy
import json
import os
import pathlib
import re
import signal
import subprocess
import time

import jsonschema
import pytest
import yaml

ROOT = pathlib.Path(__file__).parents[1]
LAUNCH = ROOT / "launch"
JOBSETS = ("jobset_gpu.yaml", "jobset_tpu.yaml")


def check(content, schema: str) -> None:
    described = json.loads((ROOT / "tests" / "launch_schemas" / schema).read_text())
    jsonschema.Draft202012Validator(described).validate(content)


def load(name: str):
    return yaml.safe_load((LAUNCH / name).read_text())


@pytest.mark.parametrize(("name", "schema"), [*((name, "jobset.json") for name in JOBSETS),
                                              ("skypilot.yaml", "skypilot.json")])
def test_a_manifest_is_as_its_schema_says(name, schema):
    check(load(name), schema)


def pod(jobset) -> dict:
    return jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("spoil", [
    lambda jobset: pod(jobset).update(nodeselector={}),
    lambda jobset: pod(jobset)["nodeSelector"].update({"cloud.google.com/gke tpu": "x"}),
    lambda jobset: pod(jobset)["containers"][0]["resources"]["limits"].update({"google.com/tpu": "four"}),
    lambda jobset: pod(jobset)["containers"][0]["env"].append({"name": "A", "value": 4}),
    lambda jobset: pod(jobset).update(restartPolicy="Sometimes"),
    lambda jobset: jobset["spec"]["failurePolicy"]["rules"][0].update(action="FailJob"),
    lambda jobset: jobset["spec"]["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"].append({}),
    lambda jobset: jobset.update(apiVersion="jobset.x-k8s.io/v1"),
    lambda jobset: jobset["metadata"].update(name="Geo_desic"),
])
def test_a_mistake_in_one_is_found(spoil):
    jobset = copy.deepcopy(load("jobset_gpu.yaml"))
    check(jobset, "jobset.json")
    spoil(jobset)
    with pytest.raises(jsonschema.ValidationError):
        check(jobset, "jobset.json")


@pytest.mark.parametrize("name", JOBSETS)
def test_a_jobset_starts_all_again_but_for_what_a_person_must_mend(name):
    jobset = load(name)
    (hosts,) = jobset["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    assert hosts["replicas"] == 1 and job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
    assert job["parallelism"] == job["completions"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule == {"action": "FailJob",
                    "onExitCodes": {"containerName": container["name"], "operator": "In", "values": [1]}}
    (of_all,) = jobset["spec"]["failurePolicy"]["rules"]
    assert (of_all["action"], of_all["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert jobset["spec"]["failurePolicy"]["maxRestarts"] == 100
    # The image's entry point is `geodesic`.
    assert container["args"][0] == "train" and "command" not in container
    assert {mount["name"] for mount in container["volumeMounts"]} == \
        {volume["name"] for volume in job["template"]["spec"]["volumes"]}


def test_the_gpus_jobset_tells_its_pods_the_truth():
    jobset = load("jobset_gpu.yaml")
    (hosts,) = jobset["spec"]["replicatedJobs"]
    (container,) = pod(jobset)["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    name = jobset["metadata"]["name"]
    assert hosts["template"]["spec"]["completions"] == int(values["JAX_NUM_PROCESSES"])
    assert values["JAX_COORDINATOR_ADDRESS"] == \
        f"{name}-{hosts['name']}-0-0.{name}:{container['ports'][0]['containerPort']}"
    assert "JAX_PROCESS_ID" in values


def test_the_tpus_jobset_has_a_pod_for_each_host_of_its_slice():
    jobset = load("jobset_tpu.yaml")
    (container,) = pod(jobset)["containers"]
    selected = pod(jobset)["nodeSelector"]
    assert selected["cloud.google.com/gke-tpu-accelerator"] == "tpu-v5-lite-podslice"
    sides = [int(side) for side in selected["cloud.google.com/gke-tpu-topology"].split("x")]
    job = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert sides[0] * sides[1] == container["resources"]["limits"]["google.com/tpu"] * job["completions"]
    assert "env" not in container  # a TPU tells by itself


def test_the_image_has_a_stage_for_each_kind_of_machine():
    """No docker here: what it would copy and install is there, and COPY comes after what is slow."""
    text = (LAUNCH / "Dockerfile").read_text()
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [name for _, name in stages] == ["base", "cpu", "cuda12", "cuda13", "tpu"]
    assert {of for of, name in stages[1:]} == {"base"} and stages[0][0].startswith("python:3.12")
    for stage in text.split("\nFROM ")[1:]:
        name = stage.split()[2]
        if name != "base":
            pins = "requirements.txt" if name == "cpu" else f"requirements-{name}.txt"
            assert (ROOT / pins).exists()
            assert stage.index(f"pip install -r {pins}") < stage.index("COPY . .") < stage.index("'.[gcs,s3]'")
    assert 'ENTRYPOINT ["geodesic"]' in text
    left_out = (LAUNCH / "Dockerfile.dockerignore").read_text().split()
    assert not {"configs", "experiments", "pyproject.toml", "README.md", "LICENSE"} & {*left_out}


@pytest.mark.parametrize("path", [*sorted(LAUNCH.glob("*.sh")), ROOT / "tests" / "slurm" / "setup.sh"],
                         ids=lambda path: path.name)
def test_the_scripts_are_shell(path):
    subprocess.run(["bash", "-n", path], check=True)
    assert os.access(path, os.X_OK)


def test_the_shell_inside_of_skypilots_task_is_shell():
    for name in ("setup", "run"):
        subprocess.run(["bash", "-n"], input=load("skypilot.yaml")[name], text=True, check=True)


def again(tmp_path, *statuses, **environment) -> tuple[int, int]:
    """(the status of again.sh, how often it gave the command) for a command that ends with these in turn."""
    (tmp_path / "statuses").write_text("\n".join(map(str, statuses)) + "\n")
    command = (f"echo once >> {tmp_path}/tries; status=$(head -n 1 {tmp_path}/statuses); "
               f"sed -i 1d {tmp_path}/statuses; exit $status")
    done = subprocess.run([LAUNCH / "again.sh", "bash", "-c", command], env={**os.environ, "PAUSE": "0", **environment},
                          timeout=60)
    return done.returncode, len((tmp_path / "tries").read_text().splitlines())


@pytest.mark.parametrize(("statuses", "ended"), [
    ((0,), (0, 1)), ((1,), (1, 1)), ((75, 0), (0, 2)), ((134, 137, 139, 143, 75, 0), (0, 6)), ((75, 1), (1, 2))])
def test_the_same_command_again_where_its_status_says_so(tmp_path, statuses, ended):
    assert again(tmp_path, *statuses) == ended


def test_not_for_ever(tmp_path):
    assert again(tmp_path, 75, 75, 75, 75, TRIES="3") == (75, 3)


def test_sigterm_goes_to_the_command_and_is_the_end(tmp_path):
    command = (f"trap 'echo saved >> {tmp_path}/log; exit 143' TERM; echo ready >> {tmp_path}/log; "
               f"while :; do sleep 0.1; done")
    process = subprocess.Popen([LAUNCH / "again.sh", "bash", "-c", command])
    wait_for(tmp_path / "log", "ready")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143 and (tmp_path / "log").read_text() == "ready\nsaved\n"


# Two hosts are two folders. What the words mean is gcloud's: compute tpus tpu-vm ssh NAME --zone --worker --command.
GCLOUD = """#!/bin/bash
echo "$@" >> HOSTS/calls
for word in "$@"; do case $word in
    --worker=all) hosts="0 1" ;; --worker=*) hosts=${word#*=} ;; --command=*) command=${word#*=} ;;
esac; done
if [ "$1" = storage ]; then exit 0
elif [ "$4" = ssh ]; then
    for host in $hosts; do (cd HOSTS/$host && HOME=$PWD bash -c "$command"); done
elif [[ $5 == pod:* ]]; then cp "${5#pod:}" "$6"
else for host in $hosts; do cp "$5" "HOSTS/$host/${6#pod:}"; done
fi
"""


@pytest.fixture
def tpu(tmp_path, monkeypatch):
    """launch/tpu_vm.sh of a copy of this checkout, and a gcloud that knows two hosts."""
    hosts = tmp_path / "hosts"
    for index in range(2):
        (hosts / str(index)).mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gcloud").write_text(GCLOUD.replace("HOSTS", str(hosts)))
    (tmp_path / "bin" / "gcloud").chmod(0o755)
    # Of Python, what makes the environment: `-m pip install uv`, `-m uv venv`, `-m uv pip install`.
    (tmp_path / "bin" / "python3").write_text(f"#!/bin/bash\necho python3 \"$@\" >> {hosts}/calls\n")
    (tmp_path / "bin" / "python3").chmod(0o755)
    checkout = tmp_path / "checkout"
    (checkout / "launch").mkdir(parents=True)
    for name in ("tpu_vm.sh", "again.sh"):
        (checkout / "launch" / name).write_bytes((LAUNCH / name).read_bytes())
        (checkout / "launch" / name).chmod(0o755)
    git = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-C", checkout]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PAUSE", "0")

    def call(*words, status=0):
        done = subprocess.run([checkout / "launch" / "tpu_vm.sh", *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        return done.stdout + done.stderr

    return call, hosts, checkout


PROGRAM = """#!/bin/bash
echo "$@" >> words
if [ "$1" = report ]; then echo "$JAX_PLATFORMS" > "${2#--workdir=}/report.html"; exit 0; fi
trap 'echo saved; exit 143' TERM
[ -e second ] || { touch second; echo lost; exit 75; }
echo trains
for _ in $(seq 300); do sleep 0.1; done
"""


def wait_for(path: pathlib.Path, text: str) -> None:
    started = time.monotonic()
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() - started < 30, path.read_text() if path.exists() else path
        time.sleep(0.05)


def test_a_slice_is_set_up_started_stopped_and_its_report_fetched(tpu, tmp_path):
    call, hosts, checkout = tpu
    call("pod", "us-east1-d", "install")
    asked = (hosts / "calls").read_text()
    assert re.findall(r"^python3 -m uv pip .* -r (.*) -e .\[gcs\]$", asked, re.MULTILINE) == [
        "requirements-tpu.txt"] * 2
    for index in range(2):
        assert (hosts / str(index) / "geodesic" / "launch" / "again.sh").exists()
        program = hosts / str(index) / "geodesic" / ".venv" / "bin" / "geodesic"
        program.parent.mkdir(parents=True)
        program.write_text(PROGRAM)
        program.chmod(0o755)
    (tmp_path / "run").mkdir()
    call("pod", "us-east1-d", "start", "--config=quickstart", f"--workdir={tmp_path / 'run'}", "--config.x=(1, 2)")
    logs = [hosts / str(index) / "geodesic" / "train.log" for index in range(2)]
    for log in logs:
        wait_for(log, "trains")
    assert "lost" in call("pod", "us-east1-d", "log")
    words = (hosts / "1" / "geodesic" / "words").read_text()
    assert words == f"train --config=quickstart --workdir={tmp_path / 'run'} --config.x=(1, 2)\n" * 2
    call("pod", "us-east1-d", "fetch", str(tmp_path / "run"))
    assert (checkout / "report.html").read_text() == "cpu\n"
    (hosts / "bucket" / "run").mkdir(parents=True)
    (hosts / "0" / "geodesic" / "gs:").symlink_to(hosts)
    call("pod", "us-east1-d", "fetch", "gs://bucket/run")
    assert "storage cp gs://bucket/run/report.html .\n" in (hosts / "calls").read_text()
    call("pod", "us-east1-d", "stop")
    for log in logs:
        wait_for(log, "saved")


def test_what_it_cannot_do_is_said(tpu):
    call, *_ = tpu
    assert "launch/tpu_vm.sh NAME ZONE install" in call(status=2)
    assert "there is no action 'begin'" in call("pod", "us-east1-d", "begin", status=2)
