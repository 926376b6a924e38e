"""A made-up gaming platform with known truth: who violates, who came back, who only looks alike."""
