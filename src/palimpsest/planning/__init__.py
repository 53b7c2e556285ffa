"""From parameters to runs: presets, cells, packs, specifications, and which code each result depends on."""
