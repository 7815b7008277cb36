"""That what launch/ holds fits together; tests/slurm_test.py runs the Slurm script."""

import pathlib
import subprocess

import yaml

LAUNCH = pathlib.Path(__file__).parents[1] / "launch"


def test_the_jobset_tells_its_pods_the_truth():
    jobset = yaml.safe_load((LAUNCH / "jobset.yaml").read_text())
    (hosts,) = jobset["spec"]["replicatedJobs"]
    job = hosts["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    values = {variable["name"]: variable.get("value") for variable in container["env"]}
    name = jobset["metadata"]["name"]
    assert hosts["replicas"] == 1 and job["completionMode"] == "Indexed"
    assert job["parallelism"] == job["completions"] == int(values["JAX_NUM_PROCESSES"])
    assert values["JAX_COORDINATOR_ADDRESS"] == \
        f"{name}-{hosts['name']}-0-0.{name}:{container['ports'][0]['containerPort']}"
    assert "JAX_PROCESS_ID" in values
    assert {mount["name"] for mount in container["volumeMounts"]} == \
        {volume["name"] for volume in job["template"]["spec"]["volumes"]}


def test_the_scripts_are_shell():
    for path in (LAUNCH / "slurm.sh", pathlib.Path(__file__).parent / "slurm" / "setup.sh"):
        subprocess.run(["bash", "-n", path], check=True)
