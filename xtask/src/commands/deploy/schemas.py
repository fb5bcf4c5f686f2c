"""Writes the strict schemas of the package kubernetes-validate in the form that kubeconform reads: without addresses of a site.

    schemas.py 1.37 FOLDER
"""

import json
import pathlib
import shutil
import sys

import kubernetes_validate

version, folder = sys.argv[1], pathlib.Path(sys.argv[2])
bundled = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
strict = bundled / f"v{version}.0-local-strict"
if not strict.is_dir():
    sys.exit(f"no strict schemas of {version} in {bundled}")
shutil.rmtree(folder, ignore_errors=True)
folder.mkdir(parents=True)
for path in strict.glob("*.json"):
    schema = json.loads(path.read_text().replace('"/api/_definitions.json#', '"_definitions.json#'))
    schema.pop("$id", None)
    (folder / path.name).write_text(json.dumps(schema))
