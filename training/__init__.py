"""Training of the demo VAE in `zvae_tiled/demo/`. It needs the packages that `requirements.txt` in this folder pins."""
