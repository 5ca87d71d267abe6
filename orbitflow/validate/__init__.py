"""Does the simulator tell the truth about a recorded run of the backend?"""
