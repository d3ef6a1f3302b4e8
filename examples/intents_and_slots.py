"""Intents and slots of a smart home in Swahili, without a teacher: python examples/intents_and_slots.py FOLDER"""

import sys
from pathlib import Path

import pocketlm

result = pocketlm.fit("smart-home:sw", max_size="60kB", output=str(Path(sys.argv[1]) / "sw.pocket"))
print(result.data["verdict"]["text"])
said = pocketlm.load(result.pocket).predict("washa taa ya mezani")
print(said["intent"], said["entities"])
