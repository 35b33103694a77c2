"""What is printed about the networks: parameters, connections, multiply-adds, shapes, receptive fields.

A number is written as it is printed, with its digits and its unit; the ledger compares at that precision. Where ours
rounds to another, ours is written beside it with the reason, so that neither can change unseen.

A source ends with how its number is known: (p) printed in the paper, read in two public transcriptions or more;
(r) a public repository's own record; (c) whole-number arithmetic over the paper's table, of nobody's printing.
"""

from typing import Any, NamedTuple

LECUN = "LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf"
ALEX = "Krizhevsky et al. 2012, https://papers.nips.cc/paper/4824"
VGG = "Simonyan & Zisserman 2015, https://arxiv.org/abs/1409.1556"
SZEGEDY = "Szegedy et al. 2015, https://arxiv.org/abs/1409.4842"
HE = "He et al. 2016, https://arxiv.org/abs/1512.03385"
EYERISS = "Chen et al. 2016, Eyeriss, ISSCC 14.5, abstract (p)"
TORCHVISION = "torchvision 0.28, meta of the IMAGENET1K_V1 weights (r)"
FIELDS = "Araujo et al. 2019, https://github.com/google-research/receptive_field (r)"
SQUEEZE = "https://github.com/forresti/SqueezeNet, README of SqueezeNet_v1.1 (r)"

UNITS = {"": 1, "K": 1024, "10^4": 10**4, "10^6": 10**6, "10^9": 10**9, "10^9, 2 a multiply-add": 5 * 10**8}
"""What a printed number is multiplied by. GoogLeNet's table counts in K = 1024: its linear layer is 1000K weights."""

OWN_COLUMNS = "the filters in the row's own columns make ours"
OWN_WEIGHTS = "printed for the weights printed beside it, which are not those of the row's own columns"
ROUNDED_DOWN = "printed rounded down"
SEPARABLE = (
    "printed of a separable 7x7 of multiplier 8, 147 x 8 + 24 x 64 = 2,712 weights, as slim's inception_v2 begins"
)


class Row(NamedTuple):
    """A printed number.

    Attributes:
      model: a name that `models.build` takes, and `settings` the changes it takes.
      quantity: parameters, weights (parameters without biases), macs, connections, units, shape, kernel, layers (with
        weights, on the longest way) or receptive field (pixels a side).
      where: the layer or endpoint, a pattern such as conv* for several; "a..b" is b seen from a; "" is all the network.
      value: the digits printed, in `unit`, see UNITS; of a shape or a kernel the sizes with "x" between them.
      source: who prints it, where, and how that is known.
      ours: what our network has where that does not round to `value`, and `deviation` says why; "" both elsewhere.
    """

    model: str
    settings: dict[str, Any]
    quantity: str
    where: str
    value: str
    unit: str
    source: str
    ours: str
    deviation: str


class Table(NamedTuple):
    """Printed numbers of one network and quantity, by `where`; `deviations` has (ours, why) for some of them."""

    model: str
    quantity: str
    source: str
    values: dict[str, str]
    unit: str = ""
    settings: dict[str, Any] = {}
    deviations: dict[str, tuple[str, str]] = {}


LENET = (
    Table("lenet5", "connections", f"{LECUN}, II.B (p)", {"": "340908", "C1": "122304", "S2": "5880", "C3": "151600"}),
    Table("lenet5", "connections", f"{LECUN}, II.B (p)", {"S4": "2000", "C5": "48120", "F6": "10164"}),
    Table("lenet5", "connections", f"{LECUN}, II.B, 84 for each class (p)", {"output": "840"}),
    Table("lenet5", "parameters", f"{LECUN}, II.B (p)", {"": "60000", "C1": "156", "S2": "12", "C3": "1516"}),
    Table("lenet5", "parameters", f"{LECUN}, II.B (p)", {"S4": "32", "C5": "48120", "F6": "10164"}),
    Table("lenet5", "shape", f"{LECUN}, Fig. 2 (p)", {"C1": "28x28x6", "S2": "14x14x6", "C3": "10x10x16"}),
    Table("lenet5", "shape", f"{LECUN}, Fig. 2 (p)", {"S4": "5x5x16", "C5": "120", "F6": "84", "output": "10"}),
    Table("lenet5_full", "parameters", f"{LECUN}, II.B, without Table I (c)", {"": "61706", "C3": "2416"}),
)

ALEXNET = (
    Table(
        *("alexnet", "units", f"{ALEX}, Fig. 2 (p)"),
        {"conv1": "253440", "conv2": "186624", "conv3": "64896", "conv4": "64896", "conv5": "43264"},
        deviations={"conv1": ("290400", "printed 55 x 48 x 96; the figure itself draws 55 x 55 x 96")},
    ),
    Table("alexnet", "units", f"{ALEX}, Fig. 2 (p)", {"fc6": "4096", "fc7": "4096", "fc8": "1000"}),
    Table(
        *("alexnet", "units", f"{ALEX}, abstract (p)", {"": "65"}, "10^4"),
        deviations={"": ("659272", "Fig. 2 as printed sums to 622,312 and as drawn to ours, neither rounds to it")},
    ),
    Table(
        *("alexnet", "parameters", f"{ALEX}, abstract (p)", {"": "60"}, "10^6"),
        deviations={"": ("60965224", f"{ROUNDED_DOWN}: the kernels of Section 3.5 make ours")},
    ),
    Table("alexnet", "parameters", f"{ALEX}, Section 3.5 (c)", {"": "60965224"}),
    Table("alexnet", "parameters", f"{ALEX}, not in towers (c)", {"": "62378344"}, settings={"towers": 1}),
    Table("alexnet", "shape", f"{ALEX}, Fig. 2 (p)", {"conv1": "55x55x96", "conv2": "27x27x256", "conv3": "13x13x384"}),
    Table("alexnet", "shape", f"{ALEX}, Fig. 2 (p)", {"conv4": "13x13x384", "conv5": "13x13x256"}),
    Table("alexnet", "kernel", f"{ALEX}, Section 3.5, and the lecture (p)", {"conv1": "11x11x3x96"}),
    Table("alexnet", "kernel", f"{ALEX}, Section 3.5 (p)", {"conv2": "5x5x48x256", "conv3": "3x3x256x384"}),
    Table("alexnet", "kernel", f"{ALEX}, Section 3.5 (p)", {"conv4": "3x3x192x384", "conv5": "3x3x192x256"}),
    Table("alexnet", "layers", f"{ALEX}, Section 3 (p)", {"": "8"}),
    Table("alexnet", "macs", f"{ALEX}, Section 3.5 (c)", {"": "0.7244"}, "10^9"),
    Table("alexnet", "macs", EYERISS, {"conv*": "666"}, "10^6"),
    Table("alexnet", "weights", EYERISS, {"conv*": "2.3"}, "10^6"),
    Table("alexnet_owt", "parameters", TORCHVISION, {"": "61100840"}),
    Table("alexnet_owt", "macs", TORCHVISION, {"": "0.714"}, "10^9"),
    Table("alexnet_owt", "receptive field", FIELDS, {"conv1": "11", "pool1": "19", "conv2": "51", "conv3": "99"}),
    Table("alexnet_owt", "receptive field", FIELDS, {"conv4": "131", "conv5": "163", "pool5": "195"}),
)

# The millions of Table 2, torchvision's parameters, weighted layers of Table 1, torchvision's 10^9 multiply-adds.
VGG_SIZES = {
    "vgg11": ("133", "132863336", "11", "7.609"),
    "vgg11_lrn": ("133", "", "11", ""),
    "vgg13": ("133", "133047848", "13", "11.308"),
    "vgg16c": ("134", "", "16", ""),
    "vgg16": ("138", "138357544", "16", "15.47"),
    "vgg19": ("144", "143667240", "19", "19.632"),
    "vgg11_bn": ("", "132868840", "", "7.609"),
    "vgg13_bn": ("", "133053736", "", "11.308"),
    "vgg16_bn": ("", "138365992", "", "15.47"),
    "vgg19_bn": ("", "143678248", "", "19.632"),
}
VGGS = (
    *(Table(m, "parameters", f"{VGG}, Table 2 (p)", {"": row[0]}, "10^6") for m, row in VGG_SIZES.items() if row[0]),
    *(Table(m, "parameters", TORCHVISION, {"": row[1]}) for m, row in VGG_SIZES.items() if row[1]),
    Table("vgg16c", "parameters", f"{VGG}, Table 1 (c)", {"": "133638952"}),
    Table("vgg11_lrn", "parameters", f"{VGG}, Table 1, as A (c)", {"": "132863336"}),
    *(Table(m, "layers", f"{VGG}, Table 1 (p)", {"": row[2]}) for m, row in VGG_SIZES.items() if row[2]),
    *(Table(m, "macs", TORCHVISION, {"": row[3]}, "10^9") for m, row in VGG_SIZES.items() if row[3]),
    Table(
        *("vgg16", "macs", f"{HE}, Section 4.1 (p)", {"": "15.3"}, "10^9"),
        deviations={"": ("15470264320", "printed without the dense layers, see conv*")},
    ),
    Table("vgg16", "macs", EYERISS, {"conv*": "15.3"}, "10^9"),
    Table("vgg16", "weights", EYERISS, {"conv*": "14.7"}, "10^6"),
    Table("vgg19", "macs", f"{HE}, Section 4.1 (p)", {"": "19.6"}, "10^9"),
    Table("vgg16", "kernel", f"{VGG}, Section 3.2 (p)", {"fc6": "7x7x512x4096"}),
    Table("vgg16", "receptive field", f"{VGG}, Section 2.3 (p)", {"conv1_2": "5", "pool4..conv5_3": "7"}),
    Table("vgg16", "receptive field", FIELDS, {"pool5": "212"}),
)

INCEPTION = (
    Table(
        *("googlenet", "weights", f"{SZEGEDY}, Table 1 (p)"),
        {"conv1": "2.7", "conv2*": "112", "inception_3a": "159", "inception_3b": "380", "inception_4a": "364"}
        | {"inception_4b": "437", "inception_4c": "463", "inception_4d": "580", "inception_4e": "840"}
        | {"inception_5a": "1072", "inception_5b": "1388", "fc": "1000"},
        "K",
        deviations={
            "conv1": ("9408", SEPARABLE),
            "inception_3a": ("163328", f"{ROUNDED_DOWN}: 159.5K"),
            "inception_3b": ("388096", OWN_COLUMNS),
            "inception_4a": ("375552", OWN_COLUMNS),
            "inception_4b": ("448512", OWN_COLUMNS),
            "inception_4c": ("509440", OWN_COLUMNS),
            "inception_4d": ("604672", OWN_COLUMNS),
            "inception_4e": ("867328", OWN_COLUMNS),
            "inception_5a": ("1042432", OWN_COLUMNS),
            "inception_5b": ("1442816", OWN_COLUMNS),
        },
    ),
    Table(
        *("googlenet", "macs", f"{SZEGEDY}, Table 1 (p)"),
        {"conv1": "34", "conv2*": "360", "inception_3a": "128", "inception_3b": "304", "inception_4a": "73"}
        | {"inception_4b": "88", "inception_4c": "100", "inception_4d": "119", "inception_4e": "170"}
        | {"inception_5a": "54", "inception_5b": "71", "fc": "1"},
        "10^6",
        deviations={
            "conv1": ("118013952", SEPARABLE),
            "inception_4a": ("73608192", OWN_WEIGHTS),
            "inception_5a": ("51079168", OWN_WEIGHTS),
        },
    ),
    Table(
        *("googlenet", "macs", f"{SZEGEDY}, Section 1, a budget (p)", {"": "1.5"}, "10^9"),
        deviations={"": ("1582671872", "conv1 counts 118 where Table 1 has 34 x 10^6, see there")},
    ),
    Table(
        *("googlenet", "shape", f"{SZEGEDY}, Table 1 (p)"),
        {"conv1": "112x112x64", "pool1": "56x56x64", "conv2": "56x56x192", "pool2": "28x28x192"}
        | {"inception_3a": "28x28x256", "inception_3b": "28x28x480", "pool3": "14x14x480", "inception_4a": "14x14x512"}
        | {"inception_4b": "14x14x512", "inception_4c": "14x14x512", "inception_4d": "14x14x528"}
        | {"inception_4e": "14x14x832", "pool4": "7x7x832", "inception_5a": "7x7x832", "inception_5b": "7x7x1024"},
    ),
    Table("googlenet", "layers", f"{SZEGEDY}, Section 5 (p)", {"": "22"}),
    Table("googlenet", "parameters", f"{SZEGEDY}, Table 1 (c)", {"": "6998552"}, settings={"auxiliary": False}),
    Table("googlenet", "parameters", f"{SZEGEDY}, Table 1 and Section 5 (c)", {"": "13378280"}),
    Table("googlenet_tv", "parameters", TORCHVISION, {"": "6624904"}, settings={"auxiliary": False}),
    Table("googlenet_tv", "parameters", "torchvision 0.28, googlenet(aux_logits=True) (r)", {"": "13004888"}),
    Table("googlenet_tv", "macs", TORCHVISION, {"": "1.498"}, "10^9"),
)

# depth: He's Table 1 in 10^9, parameters, 10^9 multiply-adds of torchvision's v1.5, whether there are bottlenecks
IMAGENET = {
    18: ("1.8", "11689512", "1.814", False),
    34: ("3.6", "21797672", "3.664", False),
    50: ("3.8", "25557032", "4.089", True),
    101: ("7.6", "44549160", "7.801", True),
    152: ("11.3", "60192808", "11.514", True),
}
TABLE_1 = {
    34: {"": ("3663761408", "printed of option A, which has no projections, see plain34")},
    50: {"": ("3857973248", f"{ROUNDED_DOWN}: the blocks of Table 1 make ours")},
}
STAGES = {"conv1": "112x112x64", "conv2_x": "56x56x64", "conv3_x": "28x28x128", "conv4_x": "14x14x256"}
BOTTLENECK_STAGES = {"conv1": "112x112x64", "conv2_x": "56x56x256", "conv3_x": "28x28x512", "conv4_x": "14x14x1024"}
RESNETS = (
    *(
        Table(f"resnet{n}", "macs", f"{HE}, Table 1 (p)", {"": row[0]}, "10^9", deviations=TABLE_1.get(n, {}))
        for n, row in IMAGENET.items()
    ),
    *(Table(f"resnet{n}", "parameters", TORCHVISION, {"": row[1]}) for n, row in IMAGENET.items()),
    *(
        Table(f"resnet{n}", "macs", TORCHVISION, {"": row[2]}, "10^9", {"stride_in": "3x3"} if row[3] else {})
        for n, row in IMAGENET.items()
    ),
    *(Table(f"resnet{n}", "layers", f"{HE}, Table 1 (p)", {"": str(n)}) for n in IMAGENET),
    *(
        Table(f"resnet{n}", "shape", f"{HE}, Table 1 (p)", BOTTLENECK_STAGES if row[3] else STAGES)
        for n, row in IMAGENET.items()
    ),
    *(Table(f"resnet{n}", "shape", f"{HE}, Table 1 (p)", {"conv5_x": "7x7x512"}) for n in (18, 34)),
    *(Table(f"resnet{n}", "shape", f"{HE}, Table 1 (p)", {"conv5_x": "7x7x2048"}) for n in (50, 101, 152)),
    Table("resnet50", "receptive field", FIELDS, {"conv5_x": "483"}),
    Table("resnet101", "receptive field", FIELDS, {"conv5_x": "1027"}),
    Table("resnet152", "receptive field", FIELDS, {"conv5_x": "1507"}),
    Table("plain18", "macs", f"{HE}, Table 1 (p)", {"": "1.8"}, "10^9"),
    Table("plain34", "macs", f"{HE}, Table 1 and Section 3.3 (p)", {"": "3.6"}, "10^9"),
    Table("resnet34", "macs", f"{HE}, Table 1 (p)", {"": "3.6"}, "10^9", {"shortcut_option": "A"}),
    Table("plain18", "parameters", f"{HE}, Table 1 (c)", {"": "11515688"}),
    Table("plain34", "parameters", f"{HE}, Table 1 (c)", {"": "21623848"}),
    Table("resnet18", "parameters", f"{HE}, option A (c)", {"": "11515688"}, settings={"shortcut_option": "A"}),
    Table("resnet34", "parameters", f"{HE}, option A (c)", {"": "21623848"}, settings={"shortcut_option": "A"}),
    Table("plain18", "layers", f"{HE}, Table 1 (p)", {"": "18"}),
    Table("plain34", "layers", f"{HE}, Table 1 (p)", {"": "34"}),
)

# depth: the millions of He's Table 6, exact parameters and 10^6 multiply-adds
CIFAR = {
    20: ("0.27", "269722", "40.55"),
    32: ("0.46", "464154", "68.86"),
    44: ("0.66", "658586", "97.17"),
    56: ("0.85", "853018", "125.49"),
    110: ("1.7", "1727962", "252.89"),
    1202: ("19.4", "19421274", "2829.2"),
}
DEEP = {110: {"scan": True}, 1202: {"scan": True}}  # the same networks, and traced in no time
CIFAR_STAGES = {"stage1": "32x32x16", "stage2": "16x16x32", "stage3": "8x8x64"}
TWINS = tuple((f"{kind}{n}", n) for kind in ("resnet", "plain") for n in CIFAR if (kind, n) != ("plain", 1202))
CIFARS = (
    *(
        Table(f"resnet{n}", "parameters", f"{HE}, Table 6 (p)", {"": row[0]}, "10^6", DEEP.get(n, {}))
        for n, row in CIFAR.items()
    ),
    *(
        Table(name, "parameters", f"{HE}, Section 4.2 (c)", {"": CIFAR[n][1]}, settings=DEEP.get(n, {}))
        for name, n in TWINS
    ),
    *(Table(name, "macs", f"{HE}, Section 4.2 (c)", {"": CIFAR[n][2]}, "10^6", DEEP.get(n, {})) for name, n in TWINS),
    *(Table(f"resnet{n}", "shape", f"{HE}, Section 4.2 (p)", CIFAR_STAGES, settings=DEEP.get(n, {})) for n in CIFAR),
    *(
        Table(name, "layers", f"{HE}, Section 4.2, 6n + 2 (p)", {"": str(n)}, settings=DEEP.get(n, {}))
        for name, n in TWINS
    ),
)

SQUEEZENETS = (
    Table("squeezenet1_1", "parameters", TORCHVISION, {"": "1235496"}),
    Table("squeezenet1_1", "macs", TORCHVISION, {"": "0.349"}, "10^9"),
    Table(
        *("squeezenet1_1", "macs", SQUEEZE, {"": "0.72"}, "10^9, 2 a multiply-add"),
        deviations={
            "": ("349151936", "what it counts beside multiply-adds, or of which image, is not said; ours make 0.70")
        },
    ),
)

TABLES = (*LENET, *ALEXNET, *VGGS, *INCEPTION, *RESNETS, *CIFARS, *SQUEEZENETS)
ORDER = tuple(dict.fromkeys(table.model for table in TABLES))
ROWS = tuple(
    Row(
        *(table.model, table.settings, table.quantity, where, value, table.unit, table.source),
        *table.deviations.get(where, ("", "")),
    )
    for table in sorted(TABLES, key=lambda table: ORDER.index(table.model))
    for where, value in table.values.items()
)
"""Every printed number, network by network."""
