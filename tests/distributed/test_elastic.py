"""A training whose worker was killed goes on from its checkpoint to the same bits."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available(), reason="this build of torch has no distributed package")
def test_a_killed_worker_leaves_no_trace_in_the_weights(tmp_path):
    said = {}
    for name, arguments in {"whole": [], "killed": ["--kill-at", "13"]}.items():
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
        command += ["--max-restarts=1", "--monitor-interval=0.2", str(ROOT / "examples/distributed/elastic.py")]
        command += ["--epochs", "5", "--output", str(tmp_path / name), *arguments]
        settings = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        said[name] = done.stdout
    assert "going on from step 8" in said["killed"] and "going on" not in said["whole"]
    checksums = [re.search(r"step 20, .* weights (\w+)", text).group(1) for text in said.values()]
    assert checksums[0] == checksums[1]
