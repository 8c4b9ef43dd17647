"""Build the image of this repository's jobs, and look at what a person would get.

`python -m tests.image [ARGUMENT …]`, or `make image`: with Docker, or with Buildah where there is no
Docker. Arguments go to the `build` command, e.g. `--pull-never`.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TAG = "localhost/etlkit:look"
MAX_BYTES = 400_000_000
BUILDERS = ("docker", "buildah")


def can_build(name):
    """Whether a builder is installed and able to build here."""
    if shutil.which(name) is None:
        return False
    return subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0


def output(*command):
    """Run a command; gives what it printed."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


class Docker:
    """Runs an image that Docker has built."""

    def num_bytes(self):
        return int(output("docker", "image", "inspect", "--format", "{{.Size}}", TAG))

    def run(self, *command):
        return output("docker", "run", "--rm", "--entrypoint", command[0], TAG, *command[1:])


class Buildah:
    """Runs an image that Buildah has built, in a container that is there until the end."""

    def num_bytes(self):
        [image] = [
            each
            for each in json.loads(output("buildah", "images", "--json"))
            if TAG in (each["names"] or ())
        ]
        number, unit = image["size"].split()
        return int(float(number) * {"KB": 1e3, "MB": 1e6, "GB": 1e9}[unit])

    def run(self, *command):
        container = output("buildah", "from", "--pull-never", TAG)
        try:
            return output("buildah", "run", container, "--", *command)
        finally:
            output("buildah", "rm", container)


def main(arguments):
    """Build and look; gives what is wrong."""
    builder = next(filter(can_build, BUILDERS), None)
    if builder is None:
        return [f"neither {' nor '.join(BUILDERS)} can build here"]
    subprocess.run([builder, "build", "--tag", TAG, *arguments, "."], cwd=ROOT, check=True)
    image = Docker() if builder == "docker" else Buildah()
    size, user, shown = (
        image.num_bytes(),
        image.run("id", "-u"),
        image.run("etlkit", "run", "--help"),
    )
    print(f"{size / 1e6:.0f} MB, user {user}")
    return [
        *([f"larger than {MAX_BYTES / 1e6:.0f} MB"] if size >= MAX_BYTES else []),
        *(["runs as root"] if user == "0" else []),
        *(["etlkit run --help says nothing of a job"] if "job" not in shown else []),
    ]


if __name__ == "__main__":
    wrong = main(sys.argv[1:])
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(bool(wrong))
