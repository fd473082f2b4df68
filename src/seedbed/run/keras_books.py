"""The books that Keras and TensorFlow keep in their own objects: attributes that are no state of a run, each with its reason.

Made for Keras 3.15. tests/run/test_model_state.py holds the tables against the real thing: a name that is missing here costs time,
and no bits.
"""

from __future__ import annotations

from collections.abc import Mapping

# Attributes of Keras's and TensorFlow's objects that are no state of a run, each with its reason. (Keras 3.15)
OF_KERAS: Mapping[str, str] = {
    "_jax_state": "the variables' values during fit on JAX",
    "_jax_state_synced": "the same",
    "_tracker": "an index of what the object holds",
    "_tracked": "names of tracked attributes",
    "_trainable_variables_indices": "an index by id",
    "_nodes": "the graph of layers, fixed once it is built",
    "_nodes_by_depth": "the same",
    "_operations_by_depth": "the same",
    "_inbound_nodes": "the same",
    "_outbound_nodes": "the same",
    "_nodes_by_id": "the same",
    "_saved_model_inputs_spec": "for saving",
    "_saved_model_arg_spec": "for saving",
    "_auto_config": "for saving",
    "_compile_config": "for saving",
    "_build_shapes_dict": "for saving",
    "_losses": "those of the last call",
    "_loss_ids": "the same",
    "_losses_override": "the same",
    "_called": "whether the layer has been called",
    "_call_signature": "of the class",
    "_parent_path": "a name",
    "_exclude_from_weight_decay_cache": "by the names of variables",
    "_flat_losses": "made from the compiled losses with the first batch",
    "_flat_metrics": "the same, of metrics",
    "_flat_weighted_metrics": "the same",
    "_resolved_output_names": "the same",
    "_y_pred_build_structure": "the same",
    "_y_true_build_structure": "the same",
    "_distribution_strategy": "fixed when the object is made",
    "_distribute_strategy": "the same",
}  # fmt: skip

# On the backend PyTorch, whose modules Keras's objects are.
OF_TORCH: Mapping[str, str] = {
    "_torch_params": "variables, under another name",
    "_parameters": "the same",
    "_modules": "PyTorch's registry of what the object holds; `torch_params` comes with the first batch",
    "_buffers": "the same",
}  # fmt: skip

# Those of models alone: an attribute `history` of a layer of the user's is state. (What can be fitted is a model.)
OF_MODELS: Mapping[str, str] = {
    "history": "History of the last fit; a resumed run makes it from the record's history",
    "stop_training": "in the checkpoint by itself",
    "stop_evaluating": "set by evaluate",
    "stop_predicting": "set by predict",
    "train_function": "the traced step",
    "test_function": "the traced step",
    "predict_function": "the traced step",
    "steps_per_execution": "set by seedbed before each fit",
    "unrolled_steps_per_execution": "belongs to the traced step",
    "_compiled_trainable_state": "noted by compile, and again by the traced step",
    "_eval_epoch_iterator": "fit's validation data",
    "_initial_epoch": "fit's argument",
}  # fmt: skip

# Of a compiled model, where its losses and metrics are looked at one by one.
OF_COMPILED: Mapping[str, str] = {
    "_compile_metrics": "built with the first batch",
    "_compile_loss": "built with the first batch",
}  # fmt: skip

# Set by the first batch on Keras's own containers of losses and metrics.
BUILT_LATE = frozenset({"CompileLoss", "CompileMetrics"})

# Attributes that Keras sets on every callback; not its state.
OF_CALLBACKS = frozenset({"model", "_model", "params", "validation_data"})


_NAMES: dict[type, frozenset[str]] = {}  # by class, as they were asked for


def names(kind: type) -> frozenset[str]:
    """Return the attributes that Keras, TensorFlow or PyTorch keeps books in, on objects of a class; none for other libraries' classes."""
    if kind not in _NAMES:
        packages = {base.__module__.partition(".")[0] for base in kind.__mro__}
        found = {*OF_KERAS, *(OF_TORCH if "torch" in packages else ()), *(OF_MODELS if hasattr(kind, "fit") else ())}
        _NAMES[kind] = frozenset(found if packages & {"keras", "tensorflow", "torch"} else ())
    return _NAMES[kind]
