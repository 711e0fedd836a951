"""`export`: one ONNX with the chosen heads, its manifest and card, checked against PyTorch."""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_shapes
from onnx.utils import Extractor
from torch import Tensor, nn

from .anywhere import spread
from .backbone import Classifier, SqueezeNet, load_pretrained
from .manifest import digest, keep_entries, unproven, write_manifest
from .pictures import find_pictures, open_picture
from .preprocess import VIEW, test_picture, to_tensor, whole_picture
from .segmentation_data import SegmentationClasses
from .segmenter import ConvBn, GroundBranch, SegmentationBranch, check_size, load_branch

IMAGENET_CLASSES = Path(__file__).parents[2] / "imagenet_classes.txt"
FEATURES = {"fire5": (256, 8), "fire7": (384, 16), "fire9": (512, 16)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="the model's name, for `model:=`")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME.onnx, NAME.yaml, NAME.md")
    parser.add_argument("--backbone", type=Path, required=True, help="squeezenet1_1_imagenet.onnx")
    parser.add_argument("--segmenter", type=Path, help="final.pt of a `segment` or `anywhere` run")
    parser.add_argument("--classes", type=Path, help="the YAML of that run")
    parser.add_argument("--balance", type=Path, help="JSON of `balance`")
    parser.add_argument("--classifier", type=Path, help="final.pt of a `classify` run; ImageNet's head without")
    parser.add_argument("--temperatures", type=Path, help="JSON of `calibrate`")
    parser.add_argument("--scores", type=Path, help="JSON of figures for manifest and card")
    parser.add_argument("--card", type=Path, help="text of the card")
    parser.add_argument("--description", default="SqueezeNet v1.1, labels and mask")
    parser.add_argument("--licence", default="BSD-2-Clause")
    parser.add_argument("--size", type=int, nargs=2, default=VIEW, metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--pictures", type=Path, nargs="*", default=[], help="pictures to check the export with, or folders of which, and of all below, some are taken")


class Combined(nn.Module):
    """One backbone, its heads, and the maps that place descriptors pool.

    A `GroundBranch` comes with the classifier that sees means of 2x2 cells, and with one map more:
    what its last layer reads.
    """

    def __init__(
        self, backbone: SqueezeNet, classifier: Classifier, branch: SegmentationBranch | GroundBranch | None
    ) -> None:
        super().__init__()
        self.backbone, self.classifier, self.branch = backbone, classifier, branch
        self.has_features = isinstance(branch, GroundBranch)
        classifier.is_pooled = self.has_features

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.backbone(image)
        outputs = [self.classifier(maps["fire9"])]
        maps_out = [maps[name] for name in FEATURES]
        if self.has_features:
            features = self.branch.features(maps)[0]
            outputs.append(self.branch.head(features))
            maps_out.append(features)
        elif self.branch is not None:
            outputs.append(self.branch(maps)[0])
        return (*outputs, *maps_out)

    def output_names(self) -> list[str]:
        return ["logits", *(["segmentation"] if self.branch is not None else []), *self.feature_shapes()]

    def feature_shapes(self) -> dict[str, tuple[int, int]]:
        """Channels and stride of each map that is an output."""
        return FEATURES | ({"mask_features": (self.branch.WIDTH, 4)} if self.has_features else {})


def fold_batch_norms(module: nn.Module) -> None:
    """Each normalisation goes into the convolution before it."""
    for block in module.modules():
        if isinstance(block, ConvBn):
            block[0] = nn.utils.fuse_conv_bn_eval(block[0], block[1])
            block[1] = nn.Identity()


def fold_pads(model: onnx.ModelProto) -> None:
    """Zero padding before a convolution becomes the convolution's own (PyTorch has it symmetric
    only), so that ONNX Runtime does not leave its blocked layout for it."""
    made_by = {name: node for node in model.graph.node for name in node.output}
    found = [
        (node, made_by[node.input[0]]) for node in model.graph.node
        if node.op_type == "Conv" and node.input[0] in made_by and made_by[node.input[0]].op_type == "Pad"
    ]
    if not found:
        return
    amounts = Extractor(infer_shapes(model)).extract_model([], [pad.input[1] for _, pad in found])
    amounts = ReferenceEvaluator(amounts).run(None, {})
    for (node, pad), amount in zip(found, amounts):
        top, left, bottom, right = amount[[2, 3, 6, 7]]
        node.input[0] = pad.input[0]
        pads = next(attribute for attribute in node.attribute if attribute.name == "pads")
        pads.ints[:] = np.add(pads.ints, [top, left, bottom, right]).tolist()
        model.graph.node.remove(pad)


def combined(args: argparse.Namespace) -> tuple[Combined, SegmentationClasses | None, list[str]]:
    backbone, classifier = load_pretrained(args.backbone)
    names = IMAGENET_CLASSES.read_text().splitlines()
    if args.classifier:
        state = torch.load(args.classifier, weights_only=True, map_location="cpu")
        names = state["names"]
        classifier = Classifier(len(names))
        classifier.load_state_dict(state["classifier"])
        own = backbone.state_dict()
        if args.segmenter and not all(torch.equal(value.cpu(), own[name]) for name, value in state["backbone"].items()):
            raise SystemExit(f"{args.classifier}: has another backbone than {args.backbone}, which {args.segmenter} reads; one model has one: give --backbone to both")
        backbone.load_state_dict(state["backbone"])
    branch, classes = None, None
    if args.segmenter:
        classes = SegmentationClasses.load(args.classes)
        branch = load_branch(args.segmenter, len(classes.classes), args.balance)
        fold_batch_norms(branch)
    return Combined(backbone, classifier, branch).eval(), classes, names


def write_onnx(model: Combined, path: Path, size: tuple[int, int]) -> None:
    example = torch.zeros(1, 3, size[1], size[0])
    names = model.output_names()
    dynamic = {"image": {2: "height", 3: "width"}}
    for name in names[1:]:
        dynamic[name] = {2: f"{name}_height", 3: f"{name}_width"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model, (example,), path, input_names=["image"], output_names=names,
            dynamic_axes=dynamic, opset_version=17, dynamo=False,
        )
    model_proto = onnx.load(path)
    fold_pads(model_proto)
    onnx.checker.check_model(model_proto, full_check=True)
    onnx.save(model_proto, path)


@torch.no_grad()
def verify(model: Combined, path: Path, tensors: list[np.ndarray]) -> float:
    """Largest difference between ONNX Runtime and PyTorch, relative to the output's range."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences = []
    for tensor in tensors:
        expected = model(torch.from_numpy(tensor))
        for actual, wanted in zip(session.run(model.output_names(), {"image": tensor}), expected):
            wanted = wanted.numpy()
            differences.append(np.abs(actual - wanted).max() / max(1e-6, np.abs(wanted).max()))
    return float(np.max(differences))


def prove(model: Combined, path: Path, size: tuple[int, int], files: list[Path]) -> tuple[float, np.ndarray]:
    """Writes the ONNX file: how far it is from PyTorch, and what it answers to the test picture."""
    write_onnx(model, path, size)
    test = to_tensor(whole_picture(test_picture(), size))
    worst = verify(model, path, [test, *(to_tensor(whole_picture(open_picture(file), size)) for file in files)])
    # What is no number is no agreement.
    if not worst <= 1e-3:
        raise SystemExit(f"{path.parent}: nothing written: ONNX Runtime and PyTorch differ by {worst:.2g} of the range")
    (logits,) = onnxruntime.InferenceSession(path).run(["logits"], {"image": test})
    return worst, logits


def manifest_of(
    args: argparse.Namespace, sha256: str, model: Combined, classes: SegmentationClasses | None, names_file: str, logits: np.ndarray,
) -> dict:
    temperatures = json.loads(args.temperatures.read_text()) if args.temperatures else {}
    manifest = {
        "schema": 1, "name": args.name, "description": args.description, "licence": args.licence,
        "files": [{"precision": "fp32", "path": f"{args.name}.onnx", "sha256": sha256}],
        "input": {
            "width": args.size[0], "height": args.size[1], "fit": "aspect", "multiple": 8, "channels": "bgr",
            "mean": [104.0, 117.0, 123.0], "scale": [1.0, 1.0, 1.0],
        },
        "classification": {
            "output": "logits", "temperature": temperatures.get("classification", 1.0), "classes": names_file,
        },
    }
    if classes:
        manifest["segmentation"] = {
            "output": "segmentation", "temperature": temperatures.get("segmentation", 1.0),
            "classes": [
                {key: entry[key] for key in ("name", "color", "traversability", "cost")} for entry in classes.classes
            ],
        }
    manifest["features"] = [
        {"output": name, "channels": channels, "stride": stride} for name, (channels, stride) in model.feature_shapes().items()
    ]
    manifest["scores"] = json.loads(args.scores.read_text()) if args.scores else {}
    manifest["self_test"] = {
        "logits_argmax": int(logits.argmax()), "logits_max": round(float(logits.max()), 4),
    }
    return manifest


def run(args: argparse.Namespace) -> None:
    if bool(args.segmenter) != bool(args.classes):
        raise SystemExit("--segmenter needs --classes, and --classes needs --segmenter")
    if args.segmenter:
        check_size(args.size)
    files = [file for path in args.pictures for file in (spread(find_pictures(path), 16) if path.is_dir() else [path])]
    model, classes, names = combined(args)
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{args.name}.onnx"
    new = unproven(path)
    try:
        worst, logits = prove(model, new, tuple(args.size), files)
        sha256 = digest(new)
        names_file = f"{args.name}_classes.txt" if args.classifier else "imagenet_classes.txt"
        manifest = manifest_of(args, sha256, model, classes, names_file, logits)
        if not (args.out / names_file).exists() or args.classifier:
            (args.out / names_file).write_text("\n".join(names) + "\n")
        keep_entries(manifest, path.with_suffix(".yaml"))
        new.replace(path)
        write_manifest(path.with_suffix(".yaml"), manifest)
    finally:
        new.unlink(missing_ok=True)
    parameters = sum(p.numel() for p in model.parameters())
    if model.branch is not None:
        parameters -= sum(p.numel() for p in model.branch.auxiliary.parameters())
    card = args.card.read_text() if args.card else f"# {args.name}\n\n{args.description}\n"
    facts = (
        f"\n## File\n\n`{path.name}`, {path.stat().st_size / 1e6:.1f} MB, {parameters / 1e6:.2f} M parameters, "
        f"SHA-256 `{sha256}`. Licence: {args.licence}. ONNX Runtime agrees with PyTorch within {worst:.1e} of the "
        f"outputs' range on {1 + len(files)} pictures.\n"
    )
    (args.out / f"{args.name}.md").write_text(card.rstrip() + "\n" + facts)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {parameters / 1e6:.2f} M parameters")
