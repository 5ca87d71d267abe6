"""OrbitFlow from Python: what `import orbitflow` offers, loaded when it is asked for."""
