"""The doctor tells the truth about this machine, also about a GPU that torch cannot use."""

import os
import sys

import pytest

from studio import doctor
from studio.device import pick_device, pick_precision, probe
from studio.errors import StudioError


def _by_name(report):
    return {c["what"]: c for c in report["checks"]}


def test_a_healthy_machine(tmp_path):
    checks = _by_name(doctor.examine(tmp_path / "workspace"))
    assert {"python", "packages", "device", "gpu", "workspace", "embedded base model"} <= checks.keys()
    assert checks["packages"]["ok"] and "torch" in checks["packages"]["found"]
    assert checks["device"]["ok"] and checks["workspace"]["ok"]


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the driver's tool")
def test_a_gpu_that_torch_cannot_use_is_reported(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA Test 4090'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("DOMAIN_STUDIO_DEVICE", "cpu")
    check = _by_name(doctor.examine(tmp_path / "workspace"))["gpu"]
    assert not check["ok"] and "NVIDIA Test 4090" in check["found"] and "--torch-backend" in check["advice"]


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the driver's tool")
def test_a_driver_tool_that_fails_is_no_gpu(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert "Test" not in doctor.nvidia_gpu()


def test_a_workspace_that_cannot_be_is_one_line(tmp_path):
    taken = tmp_path / "file"
    taken.write_text("")
    check = _by_name(doctor.examine(taken / "workspace"))["workspace"]
    assert not check["ok"] and "\n" not in check["found"] and check["advice"]


def test_an_unknown_device_is_one_line(monkeypatch):
    monkeypatch.setenv("DOMAIN_STUDIO_DEVICE", "quantum")
    with pytest.raises(StudioError, match="device 'quantum' does not work"):
        pick_device()


def test_the_cpu_multiplies_and_computes_in_fp32():
    import torch

    cpu = torch.device("cpu")
    probe(cpu)
    assert pick_precision(cpu, "auto") == "fp32" and pick_precision(cpu, "bf16") == "bf16"
    with pytest.raises(StudioError, match="fp16 needs a GPU"):
        pick_precision(cpu, "fp16")


def test_old_pythons_are_named(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 0))
    check = doctor._python()
    assert not check["ok"] and "3.11" in check["advice"]
