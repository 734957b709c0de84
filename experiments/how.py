"""How a setting is made, in words, from what its record says."""

from typing import Any

__all__ = ["how"]


def how(setting: dict[str, Any]) -> str:
    """One line of Markdown: where the weights come from, and what was done to them.

    Args:
        setting: Of a record. What records of an older version do not say is left out.
    """
    recipe = setting["recipe"]
    if recipe is None:
        return f"The weights of `{setting['source']}`, stored as {setting['number_format']}."
    said = [f"{_architecture(setting['model'])}."] if "conv_channels" in setting["model"] else []
    start = f"From the weights of `{setting['source']}`" if setting.get("source") else "From scratch"
    said.append(f"{start}, {_optimizer(recipe)}{_teacher(setting, recipe)}{_draws(setting, recipe)}.")
    if plan := recipe.get("pruning"):
        sizes = f"{plan['conv_channels']} channels, {plan['gru_hidden']} GRU units and an attention of"
        share = f"{plan['begin']:.0%} and {plan['end']:.0%}"
        said.append(f"Pruned to {sizes} {plan['attention_width']} between {share} of the steps.")
    if recipe.get("scheme"):
        said.append(f"Weights rounded to the {recipe['scheme']} grid in every step.")
    if recipe.get("average_decay"):
        said.append(f"Kept: the moving average of the weights, decay {recipe['average_decay']:g}.")
    if setting.get("restarts", 1) > 1:
        said.append(f"Kept: of {setting['restarts']} initialisations, the best on validation speakers.")
    return " ".join(said)


def _architecture(model: dict[str, Any]) -> str:
    frontend, pool = model["frontend"], model["pool"]
    window, hop = (1e3 * frontend[name] / frontend["sample_rate"] for name in ("window_length", "hop_length"))
    mels = f"{frontend['num_mels']} mels of {window:g} ms every {hop:g} ms"
    f_min, f_max, top = frontend.get("f_min", 0), frontend.get("f_max"), frontend["sample_rate"] / 2
    if (f_min, f_max or top) != (0, top):
        mels += f" from {f_min:g} to {f_max or top:g} Hz"
    pooled = f", pooled {pool[0]} x {pool[1]}" if pool != [1, 1] else ""
    sizes = "kernel {} x {}, stride {} x {}".format(*model["kernel_size"], *model["stride"])
    layers = f"{model['gru_layers']} GRU layer{'s' if model['gru_layers'] > 1 else ''} of {model['gru_hidden']}"
    conv = f"{model['conv_channels']} channels (mels x frames: {sizes})"
    return f"{mels}{pooled}; {conv}; {layers}; attention width {model['attention_width']}"


def _optimizer(recipe: dict[str, Any]) -> str:
    rate = recipe.get("peak_learning_rate")
    schedule = f"AdamW, one cycle up to {rate:g}" if rate else f"Adam at {recipe.get('learning_rate', 0):g}"
    return f"{recipe.get('epochs', 0)} epochs of batches of {recipe.get('batch_size', 0)}, {schedule}"


def _teacher(setting: dict[str, Any], recipe: dict[str, Any]) -> str:
    weights = {name: recipe.get(f"{name}_weight", 0) for name in ("teacher", "attention", "similarity")}
    if not any(weights.values()):
        return ", hard labels"
    parts = [f"dark knowledge {weights['teacher']:g} at temperature {recipe['temperature']:g}"]
    parts += [f"{name} {weights[name]:g}" for name in ("attention", "similarity") if weights[name]]
    return f", taught by `{setting['teacher']}` ({', '.join(parts)})"


def _draws(setting: dict[str, Any], recipe: dict[str, Any]) -> str:
    parts = []
    if setting.get("augments_waveforms"):
        parts.append("augmented as samples")
    if recipe.get("clips_per_sequence", 1) > 1:
        parts.append(f"in sequences of {recipe['clips_per_sequence']} clips")
    if setting.get("speech_share"):
        parts.append(f"{setting['speech_share']:.0%} of the negatives from running speech")
    if setting.get("phases", 1) > 1:
        parts.append(f"clips framed at {setting['phases']} positions in a hop")
    if setting.get("word_exponent", 1) != 1:
        parts.append(f"words drawn by their clips to the power {setting['word_exponent']:g}")
    return "".join(f", {part}" for part in parts)
