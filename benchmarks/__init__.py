"""What influent costs: time and memory as ratios inside one run, beside the floor and beside Captum."""
