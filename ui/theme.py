"""The studio's look as a Gradio theme: slate and teal, IBM Plex from local files, flat, dark and light."""

import gradio as gr
from gradio.themes.utils import colors, fonts, sizes

FAMILIES = (("IBM Plex Sans", "system-ui"), ("IBM Plex Mono", "monospace"))


def theme() -> gr.themes.Base:
    """The theme; its colours agree with `widgets/static/studio.css`."""
    # Weight 600 of the bundled fonts holds no letters, so that only 400 and 700 may be asked for.
    sans, mono = ((fonts.LocalFont(name, weights=(400, 700)), fallback) for name, fallback in FAMILIES)
    return gr.themes.Base(
        primary_hue=colors.teal,
        secondary_hue=colors.slate,
        neutral_hue=colors.slate,
        radius_size=sizes.radius_md,
        spacing_size=sizes.spacing_md,
        text_size=sizes.text_md,
        font=sans,
        font_mono=mono,
    ).set(**_colours(), **_shapes())


def _colours() -> dict[str, str]:
    return {
        "body_background_fill": "#f6f7f9",
        "body_background_fill_dark": "#0d1117",
        "body_text_color": "#17202b",
        "body_text_color_dark": "#e3e9f0",
        "body_text_color_subdued": "#5b6878",
        "body_text_color_subdued_dark": "#93a1b2",
        "background_fill_primary": "#ffffff",
        "background_fill_primary_dark": "#141b24",
        "background_fill_secondary": "#f1f3f6",
        "background_fill_secondary_dark": "#1b2430",
        "block_background_fill": "#ffffff",
        "block_background_fill_dark": "#141b24",
        "block_border_color": "#dde2e9",
        "block_border_color_dark": "#263241",
        "border_color_primary": "#dde2e9",
        "border_color_primary_dark": "#263241",
        "input_background_fill": "#ffffff",
        "input_background_fill_dark": "#0f161f",
        "input_placeholder_color": "#626e83",
        "input_placeholder_color_dark": "#8794a6",
        "input_border_color": "#cdd4dd",
        "input_border_color_dark": "#2f3d4e",
        "input_border_color_focus": "#0d9488",
        "input_border_color_focus_dark": "#2dd4bf",
        "button_primary_background_fill": "#0f766e",
        "button_primary_background_fill_hover": "#115e59",
        "button_primary_background_fill_dark": "#0f766e",
        "button_primary_background_fill_hover_dark": "#0d9488",
        "button_primary_text_color": "#ffffff",
        "button_primary_text_color_dark": "#ffffff",
        "button_secondary_background_fill": "#ffffff",
        "button_secondary_background_fill_hover": "#eef1f4",
        "button_secondary_background_fill_dark": "#1b2430",
        "button_secondary_background_fill_hover_dark": "#243040",
        "button_secondary_border_color": "#cdd4dd",
        "button_secondary_border_color_dark": "#2f3d4e",
        "color_accent": "#0f766e",
        "color_accent_soft": "#d9f2ee",
        "color_accent_soft_dark": "#12332f",
        "slider_color": "#0f766e",
        "slider_color_dark": "#2dd4bf",
        "error_text_color": "#b42318",
        "error_text_color_dark": "#f97066",
    }


def _shapes() -> dict[str, str]:
    return {
        "block_border_width": "1px",
        "block_radius": "8px",
        "block_shadow": "none",
        "block_shadow_dark": "none",
        "block_label_background_fill": "transparent",
        "block_label_background_fill_dark": "transparent",
        "block_title_text_weight": "700",
        "block_label_text_weight": "700",
        "block_title_text_size": "13px",
        "block_info_text_size": "12px",
        "block_padding": "10px 12px",
        "button_large_radius": "8px",
        "button_small_radius": "8px",
        "button_large_text_weight": "700",
        "button_small_text_weight": "400",
        "button_primary_shadow": "none",
        "button_secondary_shadow": "none",
        "container_radius": "8px",
        "input_radius": "8px",
        "input_border_width": "1px",
        "input_shadow": "none",
        "input_shadow_focus": "0 0 0 2px rgba(13,148,136,.25)",
        "layout_gap": "12px",
        "section_header_text_weight": "700",
    }
