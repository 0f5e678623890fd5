"""Every decodable oddity through every format of the command line, read by pycocotools, Pillow and OpenCV.

    python check.py [--samovar ../../target/release/samovar] [--work FOLDER]

Makes two virtual environments in the work folder, one for each pycocotools that people have; the pictures are made by the
second one. Ends with a table of what was done with each file, and with 1 if anything is wrong.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PYCOCOTOOLS = ["2.0.10", "2.0.11"]
READERS = ["numpy", "pillow==13.0.0", "opencv-python-headless"]
# Cutout is what `segment` writes when nothing is said; others are found in the help.
FORMAT = re.compile(r"^\s+- ([a-z]+):", re.MULTILINE)


def run(command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def environments(work):
    pythons = []
    for version in PYCOCOTOOLS:
        folder = work / f"pycocotools-{version}"
        python = folder / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run([python, "-m", "pip", "-q", "install", f"pycocotools=={version}", *READERS], check=True)
        pythons.append(python)
    return pythons


def formats(samovar, command):
    """Values of --format, from the help; none where there is no such option."""
    text = run([samovar, command, "--help"]).stdout
    option = re.search(r"--format <.*?(?=\n\s+-{1,2}[a-z-]+[ ,<\n])", text, re.DOTALL)
    if not option:
        return []
    listed = re.search(r"\[possible values: ([^\]]*)\]", option.group(0))
    return listed.group(1).split(", ") if listed else FORMAT.findall(option.group(0))


def runs(samovar):
    """Name, what is written, arguments."""
    point = ["--point", "0.5,0.5"]
    for kind in formats(samovar, "segment") or ["cutout"]:
        yield f"segment {kind}", kind, ["segment", *point, "--format", kind]
    yield "segment coco outlines", "coco", ["segment", *point, "--format", "coco", "--outlines"]
    yield "segment box", "coco", ["segment", "--box", "0,0,1,1", "--format", "coco"]
    sparse = ["--points-per-side", "4"]
    listed = formats(samovar, "everything")
    for kind in listed or ["coco"]:
        yield f"everything {kind}", kind, ["everything", *sparse, *(["--format", kind] if listed else [])]
    loose = ["--points-per-side", "8", "--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
    yield "everything loose", "coco", ["everything", *loose]


def result_of(folder, stem, picture, kind):
    """The one file that is this picture's, whatever its ending."""
    ending = "png" if kind in ("cutout", "png", "labels", "overlay") else "json"
    names = [f"{name}{middle}.{ending}" for name in (stem, picture.name) for middle in ("", f".{kind}", ".mask")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


FOLDERS = {"cutout": "cutouts", "png": "masks"}


def folder_of(folder, stem, picture, kind):
    """Where each mask of this picture has a file of its own, and masks.json says which is which."""
    places = [folder / f"{name}.{FOLDERS.get(kind)}" for name in (stem, picture.name)]
    return next((place for place in places if (place / "masks.json").is_file()), None)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("--samovar", type=Path, default=HERE.parent.parent / "target/release/samovar")
    arguments.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "samovar-formats")
    asked = arguments.parse_args()
    samovar, work = asked.samovar.resolve(), asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    pythons = environments(work)
    for name in ["pictures", "foreign", "results"]:
        shutil.rmtree(work / name, ignore_errors=True)
    making = (
        "import json, oddities; from pathlib import Path; import sys; work = Path(sys.argv[1]); "
        "print(json.dumps([oddities.make(work / 'pictures'), oddities.make_foreign(work / 'foreign')]))"
    )
    made = run([pythons[-1], "-c", making, work], cwd=HERE, check=True)
    refused, foreign = json.loads(made.stdout)
    pictures = sorted((work / "pictures").iterdir())

    wrong = []
    said, done = {picture.name: [] for picture in pictures}, {}
    job = {"pictures": {}, "merged": []}
    for name, kind, command in runs(samovar):
        out = work / "results" / name.replace(" ", "_")
        ended = run([samovar, command[0], work / "pictures", *command[1:], "--out", out])
        if ended.returncode not in (0, 1) or "panicked" in ended.stderr:
            wrong.append(f"{name}: exit code {ended.returncode}: {ended.stderr[-500:]}")
        lines = ended.stderr.splitlines()
        for picture in pictures:
            mine = [line for line in lines if f'/{picture.name}"' in line]
            file = result_of(out, picture.stem, picture, kind)
            within = folder_of(out, picture.stem, picture, kind)
            failure = next((line for line in mine if line.startswith("failed: ")), None)
            said[picture.name] = said[picture.name] or [line.split('": ', 1)[-1] for line in mine]
            state = "refused" if failure else "no file" if file is None and within is None else "written"
            done.setdefault(picture.name, {})[name] = state
            if picture.name in refused:
                if file or not failure or refused[picture.name] not in failure:
                    wrong.append(f"{name}: {picture.name} should be refused with `{refused[picture.name]}`: {mine}")
            elif within:
                results = job["pictures"].setdefault(str(picture), {})
                results[f"{name}, masks.json"] = ["coco", str(within / "masks.json")]
                listed = json.loads((within / "masks.json").read_text())["annotations"]
                numbered = sorted(within.glob("*.png"))
                if len(numbered) != len(listed):
                    wrong.append(f"{name}: {picture.name}: {len(numbered)} files for {len(listed)} masks")
                for mask in numbered:
                    results[f"{name} {mask.stem}"] = [kind, str(mask)]
            elif file is None:
                wrong.append(f"{name}: {picture.name}: {failure or 'there is no result and no word'}")
            else:
                job["pictures"].setdefault(str(picture), {})[name] = [kind, str(file)]
        if (out / "annotations.json").is_file():
            job["merged"].append(str(out / "annotations.json"))
    for name, word in foreign.items():
        ended = run([samovar, "segment", work / "foreign" / name, "--point", "5,5", "--out", work / "foreign.png"])
        is_named = ended.returncode == 1 and word in ended.stderr and "convert" in ended.stderr
        said[name], done[name] = [ended.stderr.strip().split('": ', 1)[-1]], {"segment": "refused"}
        if not is_named:
            wrong.append(f"{name} should be refused as {word}, with what to do: {ended.stderr}")

    (work / "job.json").write_text(json.dumps(job))
    for version, python in zip(PYCOCOTOOLS, pythons):
        ended = run([python, HERE / "inspect_results.py", work / "job.json"])
        if ended.returncode:
            wrong.append(f"pycocotools {version}: {ended.stderr[-1000:]}")
            continue
        for picture, results in json.loads(ended.stdout).items():
            for result, complaint in results.items():
                if complaint:
                    wrong.append(f"pycocotools {version}: {Path(picture).name}, {result}: {complaint}")

    print("| file | written | said |\n|---|---|---|")
    for name, results in done.items():
        written = sum(result == "written" for result in results.values())
        count = "refused" if set(results.values()) == {"refused"} else f"{written} of {len(results)}"
        print(f"| {name} | {count} | {'; '.join(said[name])} |")
    checked = sum(len(results) for results in job["pictures"].values())
    print(f"\n{len(done)} files, {checked} results read with pycocotools {' and '.join(PYCOCOTOOLS)}, Pillow and OpenCV")
    for line in wrong:
        print(f"wrong: {line}")
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
