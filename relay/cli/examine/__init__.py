"""What `pillarbox doctor` looks at: one module for each area, each a function that gives findings."""
