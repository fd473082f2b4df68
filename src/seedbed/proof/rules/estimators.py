"""Rules about libraries that draw from NumPy's global generator unless they are told otherwise: scikit-learn, pandas, SciPy.

The tables say which functions and classes of scikit-learn are random, and when; a test holds them against the signatures of the
installed one, so that a new one isn't forgotten.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from seedbed.proof.rules.names import Source
from seedbed.proof.rules.syntax import argument, is_none, is_open, last
from seedbed.proof.rules.values import origins

# Random whatever else they are given (the documentation of `random_state` of each, scikit-learn 1.9).
ALWAYS = set(
    """
    AdaBoostClassifier AdaBoostRegressor AffinityPropagation BaggingClassifier BaggingRegressor BayesianGaussianMixture BernoulliRBM
    BisectingKMeans DecisionTreeClassifier DecisionTreeRegressor DictionaryLearning EllipticEnvelope ExtraTreeClassifier
    ExtraTreeRegressor ExtraTreesClassifier ExtraTreesRegressor FastICA GaussianMixture GaussianRandomProjection
    GradientBoostingClassifier GradientBoostingRegressor GroupShuffleSplit HalvingGridSearchCV HalvingRandomSearchCV IsolationForest
    KMeans LatentDirichletAllocation MDS MLPClassifier MLPRegressor MinCovDet MiniBatchDictionaryLearning MiniBatchKMeans MiniBatchNMF
    MiniBatchSparsePCA NMF NeighborhoodComponentsAnalysis Nystroem OutputCodeClassifier ParameterSampler PolynomialCountSketch
    RANSACRegressor RBFSampler RandomForestClassifier RandomForestRegressor RandomTreesEmbedding RandomizedSearchCV RepeatedKFold
    RepeatedStratifiedKFold ShuffleSplit SkewedChi2Sampler SparsePCA SparseRandomProjection SpectralBiclustering SpectralClustering
    SpectralCoclustering SpectralEmbedding StratifiedShuffleSplit TSNE TheilSenRegressor TruncatedSVD affinity_propagation
    fast_mcd fastica k_means kmeans_plusplus make_biclusters make_blobs make_checkerboard make_circles make_classification
    make_friedman1 make_friedman2 make_friedman3 make_gaussian_quantiles make_hastie_10_2 make_low_rank_matrix make_moons
    make_multilabel_classification make_regression make_s_curve make_sparse_coded_signal make_sparse_spd_matrix
    make_sparse_uncorrelated make_spd_matrix make_swiss_roll mutual_info_classif mutual_info_regression permutation_importance
    randomized_range_finder randomized_svd resample shuffle spectral_clustering spectral_embedding
    """.split()  # noqa: SIM905 (a list of 80 names in quotes is harder to read)
)

# Random only if one parameter, which must be named, has one of these values. True: anything but False, 0 and None.
SOMETIMES: dict[str, tuple[str, tuple[Any, ...]]] = {
    **dict.fromkeys(("KFold", "StratifiedKFold", "StratifiedGroupKFold", "GroupKFold", "check_cv", "learning_curve", "fetch_covtype",
                     "fetch_rcv1", "fetch_kddcup99"), ("shuffle", (True,))),
    # only these solvers shuffle the examples; lbfgs, newton-cg and cholesky don't
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV"), ("solver", ("sag", "saga", "liblinear"))),
    **dict.fromkeys(("Ridge", "RidgeClassifier"), ("solver", ("sag", "saga"))),
    # coordinates are taken in turn unless asked otherwise
    **dict.fromkeys(("Lasso", "ElasticNet", "LassoCV", "ElasticNetCV", "MultiTaskLasso", "MultiTaskElasticNet", "MultiTaskLassoCV",
                     "MultiTaskElasticNetCV"), ("selection", ("random",))),
    **dict.fromkeys(("Lars", "LassoLars"), ("jitter", (True,))),
    # Platt's scaling splits the data; the machine itself isn't random
    **dict.fromkeys(("SVC", "NuSVC"), ("probability", (True,))),
    "PCA": ("svd_solver", ("arpack", "randomized")),
    "KernelPCA": ("eigen_solver", ("arpack", "randomized")),
    "LocallyLinearEmbedding": ("eigen_solver", ("arpack",)),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), ("early_stopping", (True,))),
    **dict.fromkeys(("GaussianProcessClassifier", "GaussianProcessRegressor"), ("n_restarts_optimizer", (True,))),
    **dict.fromkeys(("ClassifierChain", "RegressorChain"), ("order", ("random",))),
    "DummyClassifier": ("strategy", ("stratified", "uniform")),
    "IterativeImputer": ("sample_posterior", (True,)),
    "silhouette_score": ("sample_size", (True,)),
    "PatchExtractor": ("max_patches", (True,)),
    "extract_patches_2d": ("max_patches", (True,)),
}  # fmt: skip

# Random unless one parameter has this value.
UNLESS: dict[str, tuple[str, Any]] = {
    "train_test_split": ("shuffle", False),
    **dict.fromkeys(("SGDClassifier", "SGDRegressor", "SGDOneClassSVM", "PassiveAggressiveClassifier",
                     "PassiveAggressiveRegressor"), ("shuffle", False)),
    **dict.fromkeys(("LinearSVC", "LinearSVR"), ("dual", False)),  # the dual problem's coordinates are drawn
}  # fmt: skip

# Take `random_state` and are never reported: random only with many examples, or only in what they are given.
LEFT_ALONE = {"QuantileTransformer", "KBinsDiscretizer", "TunedThresholdClassifierCV"}

# Give their parts a random_state each, drawn from their own.
SEED_THEIR_PARTS = {"AdaBoostClassifier", "AdaBoostRegressor", "BaggingClassifier", "BaggingRegressor", "RANSACRegressor",
                    "IterativeImputer"}  # fmt: skip

# SciPy: https://docs.scipy.org/doc/scipy/reference/ (`rng`, before 1.15 `seed` or `random_state`)
SCIPY = re.compile(
    r"scipy\.(optimize\.(differential_evolution|dual_annealing|basinhopping)"
    r"|stats\.(bootstrap|permutation_test|monte_carlo_test)|stats\.qmc\.(Sobol|Halton|LatinHypercube|PoissonDisk)"
    r"|sparse\.(random|rand|random_array)|stats\.\w+\.rvs)"
)
FRAME = re.compile(r"^(df|.*_df|df_.*|dataframe|frame)$", re.IGNORECASE)


def findings(source: Source) -> Iterator[tuple[str, ast.AST, str]]:
    """(code, node, what) for each."""
    for call in source.calls:
        name = source.resolve(call.func) or ""
        if is_open(call) or _is_given(argument(call, None, "random_state", "rng", "seed")):
            continue
        if name.startswith("sklearn.") and _is_random(call, name.rpartition(".")[2]) and not _set_later(source, call):
            yield "SB109", call, f"`{name.rpartition('.')[2]}` without `random_state`"
        elif SCIPY.fullmatch(name):
            yield "SB110", call, f"`{name}` without `{'random_state' if name.endswith('.rvs') else 'rng'}`"
        elif last(call.func) == "sample" and not name and isinstance(call.func, ast.Attribute) and _is_frame(source, call, call.func.value):
            yield "SB110", call, "pandas' `sample` without `random_state`"


def _is_given(node: ast.expr | None) -> bool:
    return node is not None and not is_none(node)


def _is_random(call: ast.Call, word: str) -> bool:
    if word in ALWAYS:
        return True
    if word in UNLESS:
        parameter, quiet = UNLESS[word]
        given = argument(call, None, parameter)
        return given is None or (isinstance(given, ast.Constant) and given.value is not quiet)
    if word in SOMETIMES:
        parameter, values = SOMETIMES[word]
        given = argument(call, None, parameter)
        return isinstance(given, ast.Constant) and (bool(given.value) if values == (True,) else given.value in values)
    return False


def _set_later(source: Source, call: ast.Call) -> bool:
    """Whether something else sets the estimator's seed: `set_params(random_state=…)`, or the ensemble that it is a part of."""
    statement = source.statement(call)
    names = {last(target) for target in statement.targets} if isinstance(statement, ast.Assign) else set()
    if any(_seeds_parts(source, above) for above in source.ancestors(call)):
        return True
    for one in source.calls:
        given_now = is_open(one) or any(word.arg and word.arg.endswith("random_state") for word in one.keywords)
        sets = isinstance(one.func, ast.Attribute) and one.func.attr == "set_params" and last(one.func.value) in names
        if sets and given_now:
            return True
        if _seeds_parts(source, one) and names & {last(given) for given in [*one.args, *(word.value for word in one.keywords)]}:
            return True
    return False


def _seeds_parts(source: Source, node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or (source.resolve(node.func) or "").rpartition(".")[2] not in SEED_THEIR_PARTS:
        return False
    return _is_given(argument(node, None, "random_state")) or is_open(node)


def _is_frame(source: Source, call: ast.Call, receiver: ast.expr) -> bool:
    """Whether `sample` is that of a data frame: by what made it, by its annotation, its name, or by what it is asked for."""
    made = origins(source, receiver)
    if made:
        return any(one.startswith("pandas.") for one in made)
    base: ast.AST = receiver
    while isinstance(base, ast.Subscript | ast.Call | ast.Attribute):
        base = base.func if isinstance(base, ast.Call) else base.value
    return bool(FRAME.match(last(base))) or any(word.arg in ("frac", "n") for word in call.keywords)
