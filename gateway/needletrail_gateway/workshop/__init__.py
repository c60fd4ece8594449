"""The maker's tools: what gets firmware onto a pen. Nothing here runs while a clinic works."""
