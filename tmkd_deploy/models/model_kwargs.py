"""The keywords that a recipe may pass to a timm model: those that describe its architecture.

This list is the only way in. timm passes whatever it does not know on to its loaders, and keywords
such as `checkpoint_path`, `pretrained_cfg` or `cache_dir` read files and addresses of the recipe's
choice. `num_classes` and `in_chans` follow from the data. Other keywords are added here once
someone needs them and they neither name a file nor change what the model returns.

The groups are read from the constructors in `timm.models`; the reference page lists them. Two are
for ONNX files: `channel_order` and `output`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tmkd_deploy.errors import RequestError
from tmkd_deploy.suggestions import did_you_mean

LARGEST = 16_384  # a width, in channels; everything else is smaller
LONGEST_LIST = 64


@dataclass(frozen=True)
class Group:
    """Keywords that take values of one kind; with `lists`, also a list of them.

    `names` are the values, where they are names of a fixed list.
    """

    keywords: tuple[str, ...]
    expected: str
    accepts: Callable[[Any], bool]
    lists: bool = False
    names: tuple[str, ...] = ()


def _group(keywords: str, expected: str, accepts: Callable[[Any], bool], lists: bool) -> Group:
    return Group(tuple(keywords.split()), expected, accepts, lists)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and 0 <= value <= LARGEST


def _is_rate(value: Any) -> bool:
    return _is_number(value) and value < 1


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_short_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200


def _names(keyword: str, names: str) -> Group:
    known = tuple(names.split())
    expected = f"one of {', '.join(known)}" if known[1:] else known[0]
    return Group((keyword,), expected, lambda value: value in known, names=known)


GROUPS = (
    _group(
        "base_dim base_dims base_width block_config bn_size cardinality channels"
        " depth depth_list depths dim dims down_kernel_size embed_dim embed_dims"
        " feature_dim final_chs first_stride global_block_counts group_size groups growth_rate"
        " growth_rates head_dim head_hidden_size head_widths heads hidden_sizes img_size"
        " init_channels initial_chs inner_dim inplanes kernel_size kernel_sizes key_dim layers"
        " levels local_conv_size n_div num_blocks num_features num_heads num_init_features"
        " num_kv_heads num_levels output_stride partial_dim patch_size patch_sizes qk_dim"
        " reduction reg_tokens repmixer_kernel_size sr_ratios stem_chs stem_hidden_dim"
        " stem_kernel_size stem_size stem_width strides width_list widths window_size window_sizes",
        f"a whole number from 0 to {LARGEST}, or a list of them",
        _is_whole,
        lists=True,
    ),
    _group(
        "attn_mlp_ratio attn_ratio bn_eps bn_momentum bottle_ratio ch_div cls_ratio conv_ratio"
        " deepen_factor depth_mult expand_ratio expansion_ratio ffn_ratio"
        " head_init_scale init_values layer_scale_init_value ls_init_value mbconv_expand_ratio"
        " mlp_ratio mlp_ratios norm_eps scale se_ratio stem_expand_ratio"
        " transition_compression_ratio widen_factor width width_factor width_mult",
        f"a number from 0 to {LARGEST}, or a list of them",
        _is_number,
        lists=True,
    ),
    _group(
        "attn_drop_rate drop_block_rate drop_path_rate drop_rate patch_drop_rate pos_drop_rate"
        " proj_drop_rate",
        "a number of at least 0 and below 1",
        _is_rate,
        lists=False,
    ),
    _group(
        "avg_down class_token conv_bias conv_mlp dynamic_img_pad dynamic_img_size final_norm"
        " fix_stem head_bias head_norm_first input_3x3 no_embed_class patch_norm pre_norm preact"
        " proj_bias qk_norm qkv_bias replace_stem_pool scale_mlp se_from_exp strict_img_size"
        " swiglu_mlp use_conv use_fc_norm use_grn use_layer_scale use_pos_embed zero_init_last",
        "true or false",
        _is_flag,
        lists=False,
    ),
    _names(
        "act_layer",
        "celu elu gelu gelu_tanh hard_mish hard_sigmoid hard_swish leaky_relu mish prelu"
        " quick_gelu relu relu6 selu sigmoid silu swish tanh",
    ),
    _names(
        "norm_layer",
        "batchnorm batchnorm2d groupnorm groupnorm1 layernorm layernorm2d rmsnorm rmsnorm2d",
    ),
    _names("aa_layer", "avg blur blurpc"),
    _names("channel_order", "bgr rgb"),
    _group("output", "the name of an output of an ONNX file", _is_short_text, lists=False),
    _names("global_pool", "avg avgmax catavgmax fast map max token"),
    _names("pad_type", "same"),
    _names(
        "stem_type",
        "3x3 3x3_pool 7x7 7x7_pool deep deep_pool deep_quad deep_tiered one overlap overlap_act"
        " overlap_tiered patch quad quad2 rep s16 s8 tiered v1 v2",
    ),
)
_GROUP_OF = {keyword: group for group in GROUPS for keyword in group.keywords}
KEYWORDS = frozenset(_GROUP_OF)


def unknown_keyword(keyword: str) -> tuple[str, str]:
    """The problem of a keyword that is not in `KEYWORDS`, and what to do."""
    return (
        f'"{keyword}" is no keyword that a recipe may pass to a timm model.',
        f"{did_you_mean(keyword, KEYWORDS)} docs/reference/recipe.md lists all keywords.",
    )


def wrong_value(keyword: str, value: Any) -> str | None:
    """What the known `keyword` expects instead of `value`; None if `value` fits."""
    group = _GROUP_OF[keyword]
    if isinstance(value, list | tuple) and group.lists:
        fits = 0 < len(value) <= LONGEST_LIST and all(map(group.accepts, value))
    else:
        fits = group.accepts(value)
    return None if fits else group.expected


def check(model_kwargs: Mapping[str, Any]) -> None:
    """Accept architecture keywords with values of bounded size, and nothing else.

    Raises:
        RequestError: a keyword is not in the list, or its value is not of its kind.
    """
    for keyword, value in model_kwargs.items():
        where = f"student.model_kwargs.{keyword}"
        if keyword not in KEYWORDS:
            problem, advice = unknown_keyword(keyword)
            raise RequestError(problem, where=where, advice=advice)
        if expected := wrong_value(keyword, value):
            raise RequestError(f"Expected {expected}.", where=where, advice="Change the value.")
