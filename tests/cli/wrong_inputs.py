"""Wrong inputs and what arlab answers to them, word for word. {Names in braces} stand for what may grow.

A row: what is wrong; the command line; the answer after ``arlab: error: ``; files that are written first. ``FIT`` is a
tiny generator over pixels that trains in a second, ``VQ`` a tiny tokenizer, RUN a trained generator.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FIT = "fit --config experiments/tiny/raster.yaml --model.tokenizer PixelTokenizer"
VQ = "fit --config experiments/tiny/tokenizers/vq.yaml"
OWN = f"{FIT} --data"
FILE = "fit --config my.yaml"
WHOLE = "model: {class_path: VQTokenizer}\ndata: Digits\ntrainer: {max_steps: 1}\n"
NOT_READABLE = "not a readable checkpoint (cut off or damaged?)"


@dataclass(frozen=True)
class Row:
    """A wrong input.

    Attributes:
        what: what is wrong with it.
        line: the command line, words split at spaces.
        answer: the line on stderr after ``arlab: error: ``.
        my: the content of my.yaml.
    """

    what: str
    line: str
    answer: str
    my: str | bytes = field(default="", repr=False)


ROWS = (
    # ---- the command line
    Row("no such command", "fti", "arlab has no command 'fti'. Did you mean 'fit'? Known: {commands}."),
    Row("a word that is no option", f"{FIT} oops", "unexpected 'oops' on the command line; options are --KEY VALUE"),
    Row(
        "a key without a name",
        f"{FIT} --model..head X",
        "unexpected '--model..head' on the command line; options are --KEY VALUE, KEY as in model.head",
    ),
    Row("no file after --config", "fit --config", "--config: needs a file"),
    Row("no configuration", "fit", "model: missing; give --config FILE or --model NAME"),
    Row("no data", "fit --model VQTokenizer", "data: missing; give --config FILE or --data NAME"),
    Row(
        "brackets left open",
        f"{FIT} --model.optimizer.betas [0.9",
        "--model.optimizer.betas, line 1: expected ',' or ']', but got '<stream end>'",
    ),
    Row(
        "sample: no such flag",
        "sample RUN --guidence_scale 2",
        "arlab sample does not take '--guidence_scale'. Did you mean '--guidance_scale'? Known: {flags}.",
    ),
    # ---- misspelt, at every depth
    Row("typo in a key", f"{FIT} --modle.seed 1", "unknown key 'modle'. Did you mean 'model'? Known: {keys}."),
    Row(
        "typo in an option",
        f"{FIT} --model.ordring Raster",
        "model: Generator has no option 'ordring'. Did you mean 'ordering'? Known: backbone, conditioner, "
        "ema_decay, facts, head, initialisation, objective, optimizer, ordering, seed, tokenizer.",
    ),
    Row(
        "typo two levels down",
        f"{FIT} --model.backbone.widht 8",
        "model.backbone: Transformer has no option 'widht'. Did you mean 'width'? Known: attention, "
        "drop_path, dropout, feed_forward, init_std, modulation, norm, num_layers, places, rotary, way_layers, width.",
    ),
    Row(
        "typo three levels down",
        f"{FIT} --model.backbone.attention.num_head 2",
        "model.backbone.attention: Attention has no option 'num_head'. Did you mean 'num_heads'? Known: "
        "num_heads, out_bias, qk_norm, qkv_bias.",
    ),
    Row(
        "typo in the data",
        f"{FIT} --data.batchsize 8",
        "data: Digits has no option 'batchsize'. Did you mean 'batch_size'? Known: {Digits}.",
    ),
    Row(
        "typo in a list",
        f"{FIT} --trainer.callbacks [{{class_path:\xa0SampleGrid,scal:\xa02}}]",
        "trainer.callbacks[0]: SampleGrid has no option 'scal'. Did you mean 'scale'? Known: num_classes, "
        "num_per_class, sampler, scale.",
    ),
    Row(
        "typo deep in a list",
        f"{FIT} --trainer.callbacks.sampler.guidance.guidance_scal 2",
        "trainer.callbacks[0].sampler.guidance: ConstantGuidance has no option 'guidance_scal'. Did you mean "
        "'guidance_scale'? Known: guidance_scale, until_token.",
    ),
    Row(
        "typo in the facts",
        f"{FIT} --model.facts.chanels 1",
        "model.facts: it has no option 'chanels'. Did you mean 'channels'? Known: channels, class_names, "
        "image_size, levels, source.",
    ),
    Row(
        "typo in the Trainer",
        f"{FIT} --trainer.max_step 5",
        "trainer: Trainer has no option 'max_step'. Did you mean 'max_steps'?",
    ),
    Row("help of an option", f"{FIT} --model.help Generator", "--model.help: see `arlab describe Generator`"),
    # ---- classes
    Row(
        "no such callback",
        f"{FIT} --trainer.callbacks+ SampleGird",
        "trainer.callbacks[1]: no class named 'SampleGird' is loaded. Did you mean 'SampleGrid'?",
    ),
    Row(
        "no such tokenizer",
        f"{FIT} --model.tokenizer PixelTokenzier",
        "model.tokenizer: no class, run, checkpoint or experiment 'PixelTokenzier'.{near Tokenizer PixelTokenzier}",
    ),
    Row(
        "no such class",
        f"{FIT} --model.ordering Rastr",
        "model.ordering: no class named 'Rastr' is loaded. Did you mean 'Raster'? Known: {Ordering}.",
    ),
    Row(
        "no such module",
        f"{FIT} --model.ordering no_such.Ordering",
        "model.ordering: no_such.Ordering: No module named 'no_such'",
    ),
    Row(
        "no such class in a module",
        f"{FIT} --model.ordering arlab.orderings.raster.Nope",
        "model.ordering: module 'arlab.orderings.raster' has no class 'Nope'",
    ),
    Row(
        "no name",
        f"{FIT} --model.ordering ../Raster.py",
        "model.ordering: '../Raster.py' is no name of a class.{near Ordering ../Raster.py}",
    ),
    Row(
        "a class of another kind",
        f"{FIT} --model.ordering DiscreteHead",
        "model.ordering: 'DiscreteHead' is of the kind Head, not of the kind Ordering.{near Ordering DiscreteHead}",
    ),
    Row(
        "a class of no kind",
        f"{FIT} --model.ordering os.system",
        "model.ordering: os.system is no Ordering.{near Ordering system}",
    ),
    Row(
        "an abstract class",
        f"{FIT} --model.ordering Traversal",
        "model.ordering: 'Traversal' is abstract, a base to write classes from.{near Ordering Traversal}",
    ),
    Row(
        "an abstract class in full",
        f"{FIT} --model.ordering arlab.orderings.traversal.Traversal",
        "model.ordering: 'Traversal' is abstract, a base to write classes from.{near Ordering Traversal}",
    ),
    Row(
        "a class that is a number",
        FILE,
        "model: class_path: expected the name of a class, got 3",
        "model: {class_path: 3}\ndata: Digits",
    ),
    Row(
        "options without a class",
        f"{VQ} --model.adversarial.regularizer.weight 3",
        "model.adversarial.regularizer: has options but no class_path; name a class first, one of "
        "{DiscriminatorRegularizer}",
    ),
    Row(
        "options of the part that stands there by default",
        f"{VQ} --model.adversarial.discriminator.num_layers 0",
        "model.adversarial.discriminator.num_layers: must be at least 1, got 0",
    ),
    Row(
        "an option of a part's part",
        f"{VQ} --model.quantizer PyramidQuantizer --model.quantizer.quantizer.codebook_size 1",
        "model.quantizer.quantizer.codebook_size: must be from 2 to 1048576, got 1",
    ),
    Row(
        "a mistake in a generator's tokenizer",
        "fit --config experiments/tiny/raster.yaml --tokenizer.model.token_width 0",
        "experiments/tiny/tokenizers/vq.yaml (--tokenizer.KEY VALUE adjusts it): model.token_width: must be from 1 to "
        "65536, got 0",
    ),
    Row(
        "options that are none",
        FILE,
        "init_args of VQTokenizer: expected options, got 'many'",
        "model: {class_path: VQTokenizer, init_args: many}\ndata: Digits",
    ),
    Row(
        "a required option left out",
        "fit --model Generator --data Digits",
        "model.tokenizer: Generator needs it, one of {Tokenizer}",
    ),
    Row(
        "no such tokenizer file",
        f"{FIT} --model.tokenizer nothing.yaml",
        "model.tokenizer: no such experiment: nothing.yaml",
    ),
    Row(
        "a generator as tokenizer",
        f"{FIT} --model.tokenizer experiments/tiny/raster.yaml",
        "model.tokenizer: experiments/tiny/raster.yaml makes a generator, not a tokenizer",
    ),
    # ---- types
    Row("a word for a number", f"{FIT} --model.backbone.width wide", "model.backbone.width: expected int, got 'wide'"),
    Row("a fraction for a count", f"{FIT} --model.backbone.width 1.5", "model.backbone.width: expected int, got '1.5'"),
    Row("a bool for a count", f"{FIT} --model.backbone.width true", "model.backbone.width: expected int, got 'true'"),
    Row("null for a count", f"{FIT} --model.backbone.width null", "model.backbone.width: expected int, got 'null'"),
    Row(
        "null for a count in a file",
        FILE,
        "model.token_width: expected int, got null",
        "model: {class_path: VQTokenizer, token_width: null}\ndata: Digits\n",
    ),
    Row(
        "null in a list of counts",
        FILE,
        "model.autoencoder.channel_multipliers[1]: expected int, got null",
        "model: {class_path: VQTokenizer, autoencoder: {class_path: ConvAutoencoder, channel_multipliers: [1, null]}}\n"
        "data: Digits\n",
    ),
    Row("null for a seed", FILE, "seed_everything: expected bool or int, got null", WHOLE + "seed_everything: null\n"),
    Row("null for a class", f"{FIT} --model.head null", "model.head: expected Head, got null"),
    Row("a list for a count", f"{FIT} --model.backbone.width [1,2]", "model.backbone.width: expected int, got [1, 2]"),
    Row(
        "a mapping for a count",
        f"{FIT} --model.backbone.width {{a:\xa01}}",
        "model.backbone.width: expected int, got {{'a': 1}}",
    ),
    Row("a list for a class", f"{FIT} --model.head [DiscreteHead]", "model.head: expected Head, got ['DiscreteHead']"),
    Row(
        "one for two", f"{FIT} --model.optimizer.betas 0.9", "model.optimizer.betas: expected [float, float], got '0.9'"
    ),
    Row(
        "three for two",
        f"{FIT} --model.optimizer.betas [0.9,0.9,0.9]",
        "model.optimizer.betas: expected [float, float], got [0.9, 0.9, 0.9]",
    ),
    Row(
        "a number for a list",
        f"{VQ} --model.autoencoder.channel_multipliers 2",
        "model.autoencoder.channel_multipliers: expected a list of int or null, got '2'",
    ),
    Row(
        "no such choice",
        f"{FIT} --model.backbone.feed_forward {{class_path:\xa0MLP,activation:\xa0SELU}}",
        "model.backbone.feed_forward.activation: expected GELU or GELU_TANH or SILU or RELU, got 'SELU'",
    ),
    Row(
        "a list for the Trainer",
        FILE,
        "trainer: expected options of the Trainer, got [1]",
        "model: VQTokenizer\ndata: Digits\ntrainer: [1]",
    ),
    # ---- numbers out of range
    Row(
        "not a number",
        f"{FIT} --model.optimizer.learning_rate .nan",
        "model.optimizer.learning_rate: must be a finite number, got nan",
    ),
    Row(
        "infinity",
        f"{FIT} --model.optimizer.learning_rate .inf",
        "model.optimizer.learning_rate: must be a finite number, got inf",
    ),
    Row("negative", f"{FIT} --model.backbone.width -1", "model.backbone.width: must be at least 1, got -1"),
    Row(
        "larger than any memory",
        f"{FIT} --model.backbone.width 1000000000000000",
        "not enough memory (44000000000000000 bytes asked for at once); make the batch (data.batch_size) or "
        "the model (its widths and depths) smaller",
    ),
    Row(
        "larger than 64 bits",
        f"{FIT} --model.backbone.width 100000000000000000000",
        "model.backbone.width: must fit into 64 bits, got 100000000000000000000",
    ),
    Row(
        "too many layers",
        f"{FIT} --model.backbone.num_layers 1000000",
        "model.backbone.num_layers: must be from 1 to 1000, got 1000000",
    ),
    Row(
        "heads that do not divide",
        f"{FIT} --model.backbone.attention.num_heads 3",
        "model.backbone.attention.num_heads: 3 heads do not divide a width of 8",
    ),
    Row(
        "an average that never moves",
        f"{FIT} --model.ema_decay 1",
        "model.ema_decay: must be at least 0 and below 1, got 1.0",
    ),
    Row("an empty batch", f"{FIT} --data.batch_size 0", "data.batch_size: must be at least 1, got 0"),
    Row(
        "a negative seed",
        f"{FIT} --seed_everything -1",
        "seed_everything: must be in 0 .. 4294967295, or true or false, got -1",
    ),
    Row(
        "an odd image size",
        f"{VQ} --model.autoencoder.channel_multipliers [1,1,1,1,1]",
        "model.autoencoder: image_size (8, 8) is not divisible by 16; choose another data.image_size, or give fewer "
        "channel_multipliers (each "
        "after the first halves both sides)",
    ),
    Row(
        "facts that contradict the data",
        f"{FIT} --model.tokenizer.facts.image_size [9,8]",
        "model.tokenizer.facts: image_size: (9, 8) against (8, 8) of the data (Digits)",
    ),
    Row(
        "no end",
        f"{FIT} --trainer.max_steps -1",
        "trainer.max_steps: missing; say how long to train (or trainer.max_epochs)",
    ),
    Row(
        "more than all batches",
        f"{FIT} --trainer.limit_train_batches 1.5",
        "trainer.limit_train_batches: must be a number of batches or a share of them in [0, 1], got 1.5",
    ),
    Row(
        "no batch at a time",
        f"{FIT} --trainer.accumulate_grad_batches 0",
        "trainer.accumulate_grad_batches: must be at least 1, got 0",
    ),
    Row(
        "a grid without images",
        f"{FIT} --trainer.callbacks.num_per_class 0",
        "trainer: num_per_class: must be at least 1, got 0",
    ),
    Row(
        "channels that contradict the data",
        f"{FIT} --model.facts.channels 3",
        "model.facts: channels: 3 against 1 of the data (Digits)",
    ),
    # ---- files
    Row("no such file", "fit --config nope.yaml", "config: no such file: nope.yaml"),
    Row("a folder", "fit --config experiments", "config: experiments is a folder; name a file in it"),
    Row("an empty file", FILE, "model: missing; give --config FILE or --model NAME", ""),
    Row("a list", FILE, "my.yaml: expected keys and values, got list", "- 1\n"),
    Row("bytes", FILE, "my.yaml: not UTF-8 text (invalid start byte at byte 128)", bytes(range(256))),
    Row("Latin-1", FILE, "my.yaml: not UTF-8 text (invalid continuation byte at byte 5)", "# café\n".encode("latin-1")),
    Row("a zero byte", FILE, "my.yaml: not text, character 7 is 0", "model: \0"),
    Row(
        "tabs",
        FILE,
        "my.yaml, line 2: found character '\\t' that cannot start any token",
        "model:\n\tclass_path: VQTokenizer\n",
    ),
    Row(
        "brackets left open in a file",
        FILE,
        "my.yaml, line 3: expected ',' or ']', but got ':'",
        "model:\n  class_path: [1\ndata: x\n",
    ),
    Row(
        "a key given twice",
        FILE,
        "my.yaml, line 4: 'data' is given twice, first in line 2",
        WHOLE + "data: FashionMNIST\n",
    ),
    Row(
        "an alias in itself",
        FILE,
        "my.yaml, line 1: an alias stands inside what it is an alias of",
        "model: &m {class_path: Generator, init_args: {tokenizer: *m}}\n",
    ),
    Row("nested without end", FILE, "my.yaml: nested more than 50 deep", "model: " + "[" * 3000 + "]" * 3000),
    Row(
        "aliases of aliases of aliases",
        FILE,
        "my.yaml, line 4: more than 10000 entries",
        "a: &a ["
        + "x," * 20
        + "x]\nb: &b ["
        + "*a," * 20
        + "*a]\nc: &c ["
        + "*b," * 20
        + "*b]\nd: ["
        + "*c," * 20
        + "*c]\n",
    ),
    Row(
        "a Python object",
        FILE,
        "my.yaml, line 1: could not determine a constructor for the tag "
        "'tag:yaml.org,2002:python/object/apply:os.system'",
        "model: !!python/object/apply:os.system ['true']\n",
    ),
    Row(
        "a base that is not there",
        FILE,
        "my.yaml: base: no file 'nowhere.yaml' beside it, above it or in the working directory",
        "base: nowhere.yaml\n",
    ),
    Row("a base that is no file name", FILE, "my.yaml: base: expected a file or a list of files, got 3", "base: 3\n"),
    Row(
        "a base that is the file",
        FILE,
        "base: a file includes itself: {here}/my.yaml -> {here}/my.yaml",
        "base: my.yaml\n",
    ),
    # ---- where things are written
    Row("runs below a file", f"{FIT} --run_root my.yaml/runs", "my.yaml/runs/tiny/raster/{key}: Not a directory"),
    Row(
        "a run outside the runs",
        f"{FIT} --experiment ../out",
        "experiment: expected the name of a folder below the runs, got '../out'",
    ),
    Row(
        "Lightning's own folder",
        f"{FIT} --trainer.default_root_dir here",
        "trainer.default_root_dir: got 'here'; runs lie below --run_root, use that",
    ),
    Row(
        "pictures below a file",
        "sample RUN --num_images 1 --out my.yaml/grid.png",
        "out: my.yaml/grid.png cannot be written, my.yaml is no folder",
    ),
    Row(
        "steps below a file",
        "sample RUN --num_images 1 --steps_out my.yaml/grid.gif",
        "steps_out: my.yaml/grid.gif cannot be written, my.yaml is no folder",
    ),
    Row(
        "figures below a file",
        "evaluate TOKENIZER --out my.yaml/a/figures.json",
        "out: my.yaml/a/figures.json cannot be written, my.yaml is no folder",
    ),
    Row("export below a file", "export RUN --out my.yaml/a", "out: my.yaml/a cannot be written, my.yaml is no folder"),
    Row(
        "a cache below a file",
        "cache TOKENIZER --out my.yaml/a",
        "out: my.yaml/a cannot be written, my.yaml is no folder",
    ),
    Row("pictures of another format", "sample RUN --out grid.jpeg", "out: must be a .png file, got grid.jpeg"),
    Row(
        "export into a full folder",
        "export RUN --out experiments",
        "out: experiments exists and is not an empty folder; name another",
    ),
    # ---- checkpoints
    Row(
        "no such checkpoint",
        f"{FIT} --ckpt_path none.ckpt",
        "ckpt_path: no checkpoint, run or experiment to go on from: none.ckpt",
    ),
    Row(
        "nothing to go on from",
        f"{FIT} --ckpt_path last",
        "ckpt_path: 'last': nothing was trained below runs/tiny/raster yet",
    ),
    Row("an empty checkpoint", "sample empty.ckpt", f"empty.ckpt: {NOT_READABLE}"),
    Row("half a checkpoint", "sample half.ckpt", f"half.ckpt: {NOT_READABLE}"),
    Row("a text as checkpoint", "sample text.ckpt", f"text.ckpt: {NOT_READABLE}"),
    Row("code in a checkpoint", "sample code.ckpt", "code.ckpt: refused, it holds more than weights and plain data"),
    Row("someone else's checkpoint", "sample other.ckpt", "other.ckpt: not written by arlab"),
    Row(
        "a checkpoint of the future",
        "sample newer.ckpt",
        "newer.ckpt: written in format 99 by arlab {version}, this arlab {version} reads up to {format}",
    ),
    Row(
        "a checkpoint without its entries",
        "sample entries.ckpt",
        "entries.ckpt: not readable, its entry 'arlab' is not as arlab writes it",
    ),
    Row(
        "a tokenizer to sample from",
        "sample TOKENIZER",
        "TOKENIZER/checkpoints/last.ckpt: is a VQTokenizer, expected a Generator",
    ),
    Row(
        "weights of a tokenizer's run",
        f"{FIT} --model.initialisation FromRun --model.initialisation.run TOKENIZER",
        "model.initialisation.run: TOKENIZER: is a VQTokenizer, expected a Generator",
    ),
    Row(
        "weights of no run",
        f"{FIT} --model.initialisation FromRun --model.initialisation.run none",
        "model.initialisation.run: none: no run, experiment, checkpoint or export here. Nothing has been trained under "
        "runs/ yet",
    ),
    Row(
        "a folder without runs",
        "sample experiments",
        "experiments: no run, experiment, checkpoint or export here. Nothing has been trained under runs/ yet",
    ),
    Row(
        "never trained",
        "validate --config experiments/tiny/tokenizers/vq.yaml",
        "runs/tiny/tokenizers/vq/{key}: not trained yet; run `arlab fit --config "
        "experiments/tiny/tokenizers/vq.yaml` first",
    ),
    # ---- images of one's own
    Row(
        "no folder of images",
        f"{OWN} ImageFolder --data.root pictures --data.image_size 8",
        "data.root: no such folder: pictures (there is {here})",
    ),
    Row(
        "a folder without images",
        f"{OWN} ImageFolder --data.root RUN --data.image_size 8",
        "data.root: the class folder RUN/checkpoints holds no images; fill it or delete it",
    ),
    Row(
        "an image that is damaged",
        f"{OWN} ImageFolder --data.root damaged --data.image_size 8",
        "damaged/3.png: is cut off or damaged (image file is truncated); delete it or copy it again",
    ),
    Row(
        "images that the tokenizer cannot divide",
        "fit --config experiments/tiny/tokenizers/vq.yaml --data ImageFolder --data.root damaged --data.image_size 9",
        "model.autoencoder: image_size (9, 9) is not divisible by 2; choose another data.image_size, or give fewer "
        "channel_multipliers (each after the first halves both sides)",
    ),
    Row(
        "NaN in the data",
        f"{OWN} ImageArrays --data.file nan.npz",
        "data.images: image 2 of array 'x' has values that are infinite or no number",
    ),
    Row(
        "an array that is not there",
        f"{OWN} ImageArrays --data.file nan.npz --data.images photos",
        "data.images: no array 'photos' in nan.npz; there are: x, y",
    ),
    Row(
        "an array file that is damaged",
        f"{OWN} ImageArrays --data.file half.npz",
        "data.file: half.npz is cut off or damaged (File is not a zip file); copy it again",
    ),
    Row(
        "a folder without CIFAR-10",
        f"{OWN} CIFAR10 --data.root RUN",
        "data.root: RUN/data_batch_1.bin is missing; CIFAR10 reads the binary version (cifar-10-batches-bin)",
    ),
    Row(
        "more workers than one can want",
        f"{FIT} --data.num_workers 100000",
        "data.num_workers: must be from 0 to 256, got 100000",
    ),
    # ---- devices and samples
    Row(
        "no such accelerator",
        f"{FIT} --trainer.accelerator warp",
        "trainer.accelerator: no 'warp'. Known: auto, cpu, cuda, gpu, mps, tpu.",
    ),
    Row(
        "more processes than cores",
        f"{FIT} --trainer.devices 9999",
        "trainer.devices: 9999 processes on {cores} CPU cores; give at most {cores}",
    ),
    Row(
        "no device",
        f"{FIT} --trainer.devices 0",
        "trainer.devices: expected a positive number, -1 (all), auto or indices, got '0'",
    ),
    Row("no such device", "sample RUN --device warp", "device: 'warp' is not available here; there are: {devices}"),
    Row(
        "no such class of images",
        "sample RUN --classes cat",
        "classes: no class 'cat'; there are: 0 Shoe, 1 ankle boot, 2 bag",
    ),
    Row(
        "no such index of a class",
        "sample RUN --classes 3",
        "classes: no class '3'; there are: 0 Shoe, 1 ankle boot, 2 bag",
    ),
    Row("no image", "sample RUN --num_images 0", "num_images: must be from 1 to 1000000, got 0"),
    Row(
        "more images than one can want",
        "sample RUN --num_images 1000000000000000",
        "num_images: must be from 1 to 1000000, got 1000000000000000",
    ),
    Row(
        "guidance that is no number",
        "sample RUN --guidance_scale nan",
        "guidance.guidance_scale: must be a finite number, got nan",
    ),
    Row(
        "a folder where a picture belongs",
        "sample RUN --out folder.png",
        "out: folder.png is a folder; name a .png file",
    ),
    Row("a temperature below zero", "sample RUN --temperature -1", "temperature: must be at least 0, got -1.0"),
    Row(
        "a temperature that is no number",
        "sample RUN --temperature 1 warm",
        "temperature: expected numbers, or a schedule and its options, got 'warm'",
    ),
    Row(
        "a schedule that is not there",
        "sample RUN --temperature warm",
        "temperature: no Schedule is called 'warm'; there are: Fading, PerStep, Ramp, SmoothRamp",
    ),
)

# Where there is no GPU.
WITHOUT_GPU = (
    Row(
        "a GPU that is not there",
        f"{FIT} --trainer.accelerator gpu",
        "trainer.accelerator: gpu is not available with torch {torch} on this machine; choose auto or cpu "
        "(`arlab doctor` shows the devices)",
    ),
    Row(
        "GPUs that are not there",
        f"{FIT} --trainer.accelerator gpu --trainer.devices 99",
        "trainer.accelerator: gpu is not available with torch {torch} on this machine; choose auto or cpu "
        "(`arlab doctor` shows the devices)",
    ),
    Row(
        "sample: a GPU that is not there",
        "sample RUN --device cuda",
        "device: 'cuda' is not available here; there are: cpu",
    ),
)
