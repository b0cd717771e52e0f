"""How latents are searched for: a projector a file. Read `image2stylegan` first."""
