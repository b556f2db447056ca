"""How many threads may run at once, told from the files of machines that this one is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import fastfc
from fastfc.machine import cores, threads
from tests.promises import Cases

pytestmark = pytest.mark.promise(14)
MANY = frozenset(range(64))


def made(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def mount(kind: str, top: str, where: str, options: str = "rw") -> str:
    """A line of /proc/self/mountinfo."""
    return f"30 23 0:26 {top} {where} rw,nosuid shared:4 master:9 - {kind} none {options}\n"


V2 = mount("cgroup2", "/", "/sys/fs/cgroup")
V1 = mount("tmpfs", "/", "/sys/fs/cgroup") + mount("cgroup", "/", "/sys/fs/cgroup/cpuset", "rw,cpuset")
UNDER = "sys/fs/cgroup"
TREES: dict[str, tuple[float | None, dict[str, str]]] = {
    "Docker, version 2": (1.5, {
        "proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2, f"{UNDER}/cpu.max": "150000 100000\n",
    }),
    "Docker, version 1, the host's path": (2.0, {
        "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab12\n3:cpuset:/docker/ab12\n",
        "proc/self/mountinfo": V1 + mount("cgroup", "/docker/ab12", "/sys/fs/cgroup/cpu,cpuacct", "rw,cpu,cpuacct"),
        f"{UNDER}/cpu,cpuacct/cpu.cfs_quota_us": "200000\n", f"{UNDER}/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }),
    "a pod of Kubernetes, whose slice has the quota": (3.0, {
        "proc/self/cgroup": "0::/kubepods.slice/kubepods-burstable.slice/pod7.slice/cri-9.scope\n",
        "proc/self/mountinfo": V2,
        f"{UNDER}/kubepods.slice/cpu.max": "6000000 100000\n",
        f"{UNDER}/kubepods.slice/kubepods-burstable.slice/pod7.slice/cpu.max": "300000 100000\n",
        f"{UNDER}/kubepods.slice/kubepods-burstable.slice/pod7.slice/cri-9.scope/cpu.max": "max 100000\n",
    }),
    "a slice of systemd, and a mount point with a blank": (0.5, {
        "proc/self/cgroup": "0::/user.slice/job.service\n", "proc/self/mountinfo": mount("cgroup2", "/", "/my\\040groups"),
        "my groups/user.slice/job.service/cpu.max": "50000 100000",
    }),
    "both versions, the quota in the first": (4.0, {
        "proc/self/cgroup": "7:cpu,cpuacct:/batch/job\n1:name=systemd:/x\n0::/batch/job\n",
        "proc/self/mountinfo": V1 + mount("cgroup", "/", "/sys/fs/cgroup/cpu", "rw,cpuacct,cpu")
        + mount("cgroup2", "/", "/sys/fs/cgroup/unified"),
        f"{UNDER}/cpu/batch/cpu.cfs_quota_us": "400000", f"{UNDER}/cpu/batch/cpu.cfs_period_us": "100000",
        f"{UNDER}/cpu/batch/job/cpu.cfs_quota_us": "-1", f"{UNDER}/cpu/batch/job/cpu.cfs_period_us": "100000",
    }),
    "a group outside of what is mounted": (2.5, {
        "proc/self/cgroup": "0::/../../elsewhere\n", "proc/self/mountinfo": V2, f"{UNDER}/cpu.max": "250000 100000",
    }),
    "no limit": (None, {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2, f"{UNDER}/cpu.max": "max 100000"}),
    "no files": (None, {}),
    "broken files": (None, {
        "proc/self/cgroup": "\0garbage\n:::\n0::\n0::/a\n", "proc/self/mountinfo": "7 7\n" + V2 + V2[:40] + "\n - \n",
        f"{UNDER}/cpu.max": "fast 0", f"{UNDER}/a/cpu.max": "100000 0",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", TREES)
def test_the_least_quota_of_all_groups_that_can_be_seen(name: str, tmp_path: Path, cases: Cases) -> None:
    cases(1)
    quota, files = TREES[name]
    root = made(tmp_path, files)
    assert cores.cgroup_quota(root) == quota
    found = cores.found(MANY, {}, root, "linux")
    assert found.get("cgroup quota") == (None if quota is None else max(1, int(quota)))
    assert min(found.values()) == (64 if quota is None else max(1, int(quota)))


SIBLINGS = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
HYPERTHREADS = {SIBLINGS.format(cpu): f"{cpu % 4},{cpu % 4 + 4}" for cpu in range(8)}
HYBRID = {SIBLINGS.format(cpu): f"{cpu - cpu % 2}-{cpu - cpu % 2 + 1}" if cpu < 4 else str(cpu) for cpu in range(8)}
HYBRID["sys/devices/cpu_core/cpus"] = "0-3"
ARM = {f"sys/devices/system/cpu/cpu{cpu}/cpu_capacity": str(c) for cpu, c in enumerate((400, 400, 870, 1024))}


@pytest.mark.parametrize(
    ("files", "affinity", "expected"),
    [
        (HYPERTHREADS, range(8), 4), (HYPERTHREADS, {0, 4}, 1), (HYPERTHREADS, {0, 1, 6}, 3),
        (HYBRID, range(8), 2), (HYBRID, {1, 5, 6}, 1), (HYBRID, {4, 5, 6}, 3),
        (ARM, range(4), 2), (ARM, {0, 1}, 2),
        ({}, range(3), 3), ({"sys/devices/cpu_core/cpus": "0-x"}, range(3), 3),
    ],
)  # fmt: skip
def test_physical_and_fast_cores_inside_the_affinity_mask(
    files: dict[str, str], affinity: set[int], expected: int, tmp_path: Path, cases: Cases
) -> None:
    cases(1)
    assert cores.physical_cores(frozenset(affinity), made(tmp_path, files)) == expected


def test_macos_is_asked_and_windows_has_its_mask(tmp_path: Path, cases: Cases) -> None:
    cases(3)
    apple, intel = {"hw.perflevel0.physicalcpu": 6, "hw.physicalcpu": 8}, {"hw.physicalcpu": 4}
    assert cores.found(frozenset(range(10)), {}, tmp_path, "darwin", apple.get) == {"affinity": 10, "physical cores": 6}
    assert cores.found(frozenset(range(8)), {}, tmp_path, "darwin", intel.get) == {"affinity": 8, "physical cores": 4}
    assert cores.found(frozenset(range(8)), {}, tmp_path, "win32") == {"affinity": 8}


def test_the_variables_of_the_user(tmp_path: Path, cases: Cases) -> None:
    cases(8)

    def limit(**environment: str) -> int:
        return min(cores.found(MANY, environment, tmp_path, "linux").values())

    assert limit(FASTFC_NUM_THREADS="3") == 3 and limit(OMP_NUM_THREADS="4,2") == 4
    assert limit(FASTFC_NUM_THREADS="3", OMP_NUM_THREADS="2") == 2
    assert limit(OMP_NUM_THREADS="many") == limit(OMP_NUM_THREADS="0") == limit(FASTFC_NUM_THREADS="") == 64
    for wrong in ("many", "0", "-1"):
        with pytest.raises(fastfc.InvalidArgument, match=r"^FASTFC_NUM_THREADS: given .*, expected a whole number >= 1$"):
            limit(FASTFC_NUM_THREADS=wrong)


def test_what_holds_in_this_process(monkeypatch: pytest.MonkeyPatch, cases: Cases) -> None:
    """A variable that is set counts at once; more threads than CPUs are not taken."""
    cases(3)
    monkeypatch.setattr(threads, "usable_cpus", cores.usable_cpus)
    monkeypatch.setenv("FASTFC_NUM_THREADS", "1")
    assert threads.available_threads() == 1 and threads.check_threads(None) == 1
    monkeypatch.delenv("FASTFC_NUM_THREADS")
    assert 1 <= threads.available_threads() <= cores.usable_cpus()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores.usable_cpus()
    assert threads.check_threads(1000) == cpus
