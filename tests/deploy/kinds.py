"""Sorts manifests by who has a schema for them.

    kinds.py MANIFESTS FOLDER

Writes FOLDER/known.yaml with the kinds of Kubernetes itself, and FOLDER/KIND.yaml for each other kind.
"""

import pathlib
import sys

import yaml

folder = pathlib.Path(sys.argv[2])
folder.mkdir()
with open(sys.argv[1], encoding="utf-8") as text:
    objects = [o for o in yaml.safe_load_all(text) if o]
known = []
for o in objects:
    group = o["apiVersion"].rpartition("/")[0]
    if "." not in group or group.endswith(".k8s.io"):
        known.append(o)
    else:
        (folder / f"{o['kind']}.yaml").write_text(yaml.safe_dump(o), encoding="utf-8")
(folder / "known.yaml").write_text(yaml.safe_dump_all(known), encoding="utf-8")
