"""How the demo VAE in `zvae_tiled/demo/` is trained; needs what `requirements.txt` beside this file pins."""
