"""Lines in, answers out, through `pocketlm run`: python examples/03_batch_stdin.py POCKET

In a shell: pocketlm run POCKET < texts.jsonl > answers.jsonl
"""

import json
import subprocess
import sys

texts = [{"id": 1, "text": "switch on the heating"}, {"id": 2, "text": "stop the music"}]
done = subprocess.run(
    [sys.executable, "-m", "pocketlm.cli.main", "run", sys.argv[1]],
    input="".join(json.dumps(one) + "\n" for one in texts),
    stdout=subprocess.PIPE,
    text=True,
    encoding="utf-8",
    check=True,
)
for line in done.stdout.splitlines():
    answer = json.loads(line)  # every field that was given comes back
    print(answer["id"], answer["label"], answer["score"])
