"""The Keras classes that a record from elsewhere may name, each kind where it belongs.

A class stands here if it computes with numbers alone: it calls nothing that it is given but other
classes of this list, reads no file, and writes only where `callback_places` allows. What is not here
is refused; a new class of Keras is added by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

# Places of a config that hold code. A nested one is an argument of another target there.
DATA, MODEL, OPTIMIZER, LOSS, METRICS, CALLBACKS = "data", "model", "optimizer", "loss", "metrics", "callbacks"


@dataclass(frozen=True)
class Position:
    """Where a target stands: in which part of the config, and whether as an argument of another one."""

    part: str
    nested: bool

    def __str__(self) -> str:
        return f"an argument in {self.part}" if self.nested else self.part


@dataclass(frozen=True)
class Group:
    """Classes of one public module of Keras, and where they are accepted."""

    names: frozenset[str]
    positions: frozenset[Position]


def _group(names: str, *positions: tuple[str, bool]) -> Group:
    return Group(frozenset(names.split()), frozenset(Position(part, nested) for part, nested in positions))


_ARGUMENT = (MODEL, True)

ALLOWED = MappingProxyType({
    # the one model that a config can describe by itself: a list of layers
    "keras": _group("Sequential", (MODEL, False), _ARGUMENT),
    "keras.models": _group("Sequential", (MODEL, False), _ARGUMENT),
    "keras.layers": _group(
        """
        Activation ActivityRegularization AdaptiveAveragePooling1D AdaptiveAveragePooling2D AdaptiveAveragePooling3D
        AdaptiveMaxPooling1D AdaptiveMaxPooling2D AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention
        AugMix AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D AvgPool3D
        BatchNormalization Bidirectional CategoryEncoding CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D
        Conv2DTranspose Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Convolution1D Convolution1DTranspose
        Convolution2D Convolution2DTranspose Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D
        CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense Embedding Equalization
        Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
        GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D GlobalMaxPool2D
        GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization
        GroupQueryAttention HashedCrossing Hashing Identity InputLayer IntegerLookup LSTM LSTMCell LayerNormalization
        LeakyReLU Masking MaxPool1D MaxPool2D MaxPool3D MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram
        Minimum MixUp MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN
        RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
        RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
        RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
        RandomTranslation RandomZoom ReLU RepeatVector Rescaling Reshape Resizing STFTSpectrogram SeparableConv1D
        SeparableConv2D SeparableConvolution1D SeparableConvolution2D SimpleRNN SimpleRNNCell Softmax Solarization
        SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract
        TextVectorization TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D
        ZeroPadding2D ZeroPadding3D
        """,
        _ARGUMENT,
    ),
    "keras.optimizers": _group(
        "Adadelta Adafactor Adagrad Adam AdamW Adamax Ftrl Lamb Lion LossScaleOptimizer Muon Nadam RMSprop SGD",
        (OPTIMIZER, False), (OPTIMIZER, True), _ARGUMENT,
    ),
    "keras.optimizers.schedules": _group(
        "CosineDecay CosineDecayRestarts ExponentialDecay InverseTimeDecay PiecewiseConstantDecay PolynomialDecay",
        (OPTIMIZER, True), (CALLBACKS, True), _ARGUMENT,
    ),
    "keras.losses": _group(
        """
        BinaryCrossentropy BinaryFocalCrossentropy CTC CategoricalCrossentropy CategoricalFocalCrossentropy
        CategoricalGeneralizedCrossEntropy CategoricalHinge Circle CosineSimilarity Dice Hinge Huber KLDivergence
        LogCosh MeanAbsoluteError MeanAbsolutePercentageError MeanSquaredError MeanSquaredLogarithmicError Poisson
        SparseCategoricalCrossentropy SquaredHinge Tversky
        """,
        (LOSS, False), _ARGUMENT,
    ),
    "keras.metrics": _group(
        """
        AUC Accuracy BinaryAccuracy BinaryCrossentropy BinaryIoU CategoricalAccuracy CategoricalCrossentropy
        CategoricalHinge ConcordanceCorrelation CosineSimilarity F1Score FBetaScore FalseNegatives FalsePositives
        Hinge IoU KLDivergence LogCoshError Mean MeanAbsoluteError MeanAbsolutePercentageError MeanIoU
        MeanSquaredError MeanSquaredLogarithmicError OneHotIoU OneHotMeanIoU PearsonCorrelation Poisson Precision
        PrecisionAtRecall R2Score Recall RecallAtPrecision RootMeanSquaredError SensitivityAtSpecificity
        SparseCategoricalAccuracy SparseCategoricalCrossentropy SparseTopKCategoricalAccuracy SpecificityAtSensitivity
        SquaredHinge Sum TopKCategoricalAccuracy TrueNegatives TruePositives
        """,
        (METRICS, False), _ARGUMENT,
    ),
    "keras.initializers": _group(
        """
        Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
        RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
        """,
        _ARGUMENT,
    ),
    "keras.regularizers": _group("L1 L1L2 L2 OrthogonalRegularizer", _ARGUMENT),
    "keras.constraints": _group("MaxNorm MinMaxNorm NonNeg UnitNorm", _ARGUMENT),
    "keras.callbacks": _group(
        """
        CSVLogger EarlyStopping LearningRateScheduler ModelCheckpoint ReduceLROnPlateau SwapEMAWeights TensorBoard
        TerminateOnNaN
        """,
        (CALLBACKS, False),
    ),
})  # fmt: skip

# Classes that are public, too, and are refused, with what they do.
REFUSED = MappingProxyType({
    "keras.layers.Lambda": "it calls a function that it is given",
    "keras.layers.TFSMLayer": "it runs a program that it reads from a file",
    "keras.layers.JaxLayer": "it calls a function that it is given",
    "keras.layers.FlaxLayer": "it calls a module that it is given",
    "keras.layers.TorchModuleWrapper": "it calls a module that it is given",
    "keras.metrics.MeanMetricWrapper": "it calls a function that it is given",
    "keras.callbacks.LambdaCallback": "it calls functions that it is given",
    "keras.callbacks.RemoteMonitor": "it sends over the network",
    "keras.callbacks.OrbaxCheckpoint": "it writes and reads folders of its own",
    "keras.callbacks.BackupAndRestore": "seedbed does this itself",
    "keras.callbacks.CallbackList": "it is no callback of its own",
})  # fmt: skip

# Arguments that are refused: those that name a file to read.
REFUSED_ARGUMENTS = MappingProxyType({
    "keras.callbacks.TensorBoard": ("embeddings_metadata",),
})  # fmt: skip

# Arguments that are a list of words, or else the name of a file that holds them.
WORDS_NOT_FILES = MappingProxyType({
    "keras.layers.IntegerLookup": ("vocabulary",),
    "keras.layers.StringLookup": ("vocabulary",),
    "keras.layers.TextVectorization": ("vocabulary",),
})  # fmt: skip

# What every layer takes besides the parameters that its class and its bases name.
OF_EACH_LAYER = ("batch_shape", "batch_size", "input_dim", "input_shape")


# Where TensorFlow has another class by the name.
ANOTHER_IN_TENSORFLOW = ("tensorflow.keras.layers.AlphaDropout",)


def canonical(name: str) -> str:
    """The name of a Keras class without `tensorflow.`, under which TensorFlow has the very same object."""
    same = name.startswith("tensorflow.keras.") and name not in ANOTHER_IN_TENSORFLOW
    return name.removeprefix("tensorflow.") if same else name


def group_of(name: str) -> Group | None:
    """The group that a name belongs to; None if it is none of the list."""
    module, _, last = canonical(name).rpartition(".")
    group = ALLOWED.get(module)
    return group if group is not None and last in group.names else None
