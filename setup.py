"""Put the workflow, which stands at the top level of the repository, into the package: feel_steps/workflow."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
WORKFLOW = ["Snakefile", "config.yaml", "rules", "schemas", "configs", "profiles", "envs", "studies", "docs/captions"]


class BuildWithWorkflow(build_py):
    """Build the package as usual, then copy the workflow's files into it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # the package finds them in the repository
        for source in WORKFLOW:
            path = ROOT / source
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                if file.is_file() and "__pycache__" not in file.parts:
                    target = Path(self.build_lib, "feel_steps/workflow", file.relative_to(ROOT))
                    self.mkpath(str(target.parent))
                    self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithWorkflow})
