"""The benchmark of active learning runs on any folder of the data's form."""

import json

from active_learning import main
from labelling.made_rows import made_rows


def test_every_set_is_replayed(tmp_path, capsys):
    (tmp_path / "banking77").mkdir()
    rows = "".join(f"{text},{label}\n" for text, label in made_rows(120))
    (tmp_path / "banking77" / "train.csv").write_text("text,category\n" + rows, "utf-8")
    out = tmp_path / "out.json"
    words = ["--data", str(tmp_path), "--sets", "banking77", "--rows", "50", "--seeds", "1"]
    assert main([*words, "--strategies", "mixed", "--out", str(out)]) == 0
    assert "mixed over random" in capsys.readouterr().out
    assert set(json.loads(out.read_text("utf-8"))["sets"]["banking77"]["curves"]) == {"mixed", "random"}
