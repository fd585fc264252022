"""What people hand in: arrays, latents, pictures, and files of them, checked."""
