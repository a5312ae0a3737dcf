"""The page, by Gradio: one request at a time, a bounded queue, no file served, nothing fetched from elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when it is imported
import gradio as gr
from gradio.themes.utils.fonts import Font

from config import ConfigError, UserError
from methods.sampling.loading import LoadedModel
from methods.serving import answer as answers
from methods.serving.markup import clips_html, nearness_html, refusal_html

MAX_WAITING = 8  # requests beside the one that is worked on; further ones are refused

STYLE = """
.clips {display: flex; flex-wrap: wrap; gap: 1rem}
.clips figure {margin: 0; max-width: 100%}
.clips video {display: block; max-width: 100%; height: auto; background: #000; image-rendering: pixelated}
.clips figcaption {padding: .5rem 0}
.clips a {text-decoration: underline}
.warning {border-left: 4px solid #b45309; padding: .5rem .75rem; font-weight: 600}
#answer h2 {font-size: 1rem; margin: 1rem 0 .25rem}
#answer ol {padding-left: 1.5rem; list-style: decimal}
:focus-visible {outline: 3px solid #1d4ed8 !important; outline-offset: 2px}
"""


def build_page(loaded: LoadedModel) -> gr.Blocks:
    """A page whose clips come from ``loaded``, not yet served."""
    config = loaded.config
    name = f"{config.EXPERIMENT_NAME}, step {loaded.step:,}"
    with gr.Blocks(title="Text2Sign", analytics_enabled=False) as page:
        gr.Markdown(
            f"# Text2Sign\nSign language clips generated from text by the model {name}. What it was not trained on it "
            "does not know: do not take a clip for a translation."
        )
        prompt = gr.Textbox(
            label="Prompt", info=f"In the words of the training captions, at most {answers.MAX_PROMPT} characters.",
            max_length=answers.MAX_PROMPT, max_lines=3, autofocus=True, submit_btn=False,
        )  # fmt: skip
        with gr.Row():
            clips = gr.Slider(1, answers.MAX_CLIPS, value=1, step=1, label="Clips")
            steps = gr.Slider(
                1, answers.most_steps(config), value=min(config.INFERENCE_TIMESTEPS, answers.MAX_STEPS), step=1,
                label="Steps",
            )  # fmt: skip
            guidance = gr.Slider(
                0, answers.MAX_GUIDANCE, value=min(config.GUIDANCE_SCALE, answers.MAX_GUIDANCE), step=0.1,
                label="Guidance",
            )  # fmt: skip
            seed = gr.Number(config.SEED, minimum=0, maximum=answers.MAX_SEED, precision=0, label="Seed")
        button = gr.Button("Generate", variant="primary")
        shown = gr.HTML(elem_id="answer", min_height=80)
        gr.on(
            [button.click, prompt.submit], responder(loaded), [prompt, clips, steps, guidance, seed],
            shown, api_name="generate", concurrency_limit=1, concurrency_id="model",
        )  # fmt: skip
    return page.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _theme() -> gr.themes.Base:
    """The visitor's own fonts, and contrasts of at least 4.5 to 1 (WCAG 2.1, 1.4.3)."""
    plain = [Font("system-ui"), Font("sans-serif")]
    theme = gr.themes.Default(primary_hue="blue", font=plain, font_mono=[Font("monospace")])
    grey, light = "#52525b", "#d4d4d8"
    return theme.set(
        block_info_text_color=grey, block_info_text_color_dark=light, body_text_color_subdued=grey,
        body_text_color_subdued_dark=light, button_primary_background_fill="#1d4ed8",
        button_primary_background_fill_hover="#1e40af", button_primary_background_fill_dark="#1d4ed8",
        slider_color="#1d4ed8",
    )  # fmt: skip


def responder(loaded: LoadedModel) -> Callable[..., str]:
    """What the page calls: the fields of a visitor -> HTML."""

    def respond(
        prompt: object,
        clips: object,
        steps: object,
        guidance: object,
        seed: object,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> str:
        try:
            asked = answers.checked(
                loaded.config, prompt, num_clips=clips, num_steps=steps, guidance_scale=guidance, seed=seed
            )
            done, total = 0, asked.num_clips * asked.num_steps

            def on_step(num_clips: int) -> None:
                nonlocal done
                done += num_clips
                progress((done, total), desc="sampling", unit="clip steps")

            made = answers.answer(loaded, asked, on_step=on_step)
            near = loaded.nearness([asked.prompt])
            return clips_html(made) + nearness_html(near[0] if near else None)
        except UserError as error:
            return refusal_html(str(error))

    return respond


def open_page(page: gr.Blocks, *, host: str, port: int) -> str:
    """Serve the page from another thread; returns its address. ``page.close()`` ends it.

    Raises:
        ConfigError: the port is taken, or the host is not of this machine.
    """
    try:
        page.launch(
            server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, inbrowser=False,
            theme=_theme(), css=STYLE, footer_links=[],
            run_history=False, ssr_mode=False, pwa=False, mcp_server=False, enable_monitoring=False, max_file_size=1,
        )  # fmt: skip
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port} cannot be served. Is the port taken? Name another.") from error
    return page.local_url
