"""``certify demo``: the run command on the configuration that comes with the package."""

import certify.demo
from certify.cli import main
from certify.reporting import Report


def test_the_demo_writes_a_run_folder_to_the_default_place(config, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(certify.demo, "CONFIG", config)
    monkeypatch.chdir(tmp_path)
    assert main(["demo"]) == 0
    assert (tmp_path / "certify-demo" / "report.html").exists()
    assert "certify-demo/report.html" in capsys.readouterr().out
    assert main(["demo", "--out", "other"]) == 0
    digests = [Report.read(tmp_path / name / "report.json").digest() for name in ("certify-demo", "other")]
    assert digests[0] == digests[1]
