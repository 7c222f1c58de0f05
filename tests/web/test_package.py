"""What npm would publish."""

import json
import subprocess

from tests.web.conftest import MODULE


def test_the_package_holds_the_module_and_its_types_and_nothing_else() -> None:
    command = ["npm", "pack", "--dry-run", "--json"]
    packed = subprocess.run(command, cwd=MODULE, capture_output=True, text=True, check=True)
    (package,) = json.loads(packed.stdout[packed.stdout.index("[") :])
    files = {each["path"] for each in package["files"]}
    assert {"README.md", "package.json", "dist/index.js", "dist/index.d.ts"} <= files
    assert all(name.startswith("dist/") for name in files - {"README.md", "package.json"})
    assert package["size"] < 30_000
