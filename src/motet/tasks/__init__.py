"""What motet does for you: the verbs of the command line, each one small module on `evaluate`.

A new verb is a module with a settings class and a function, and a line here.
"""

from __future__ import annotations

from motet.tasks.verbs import Verb

VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb("data list", "", "recordings that motet knows by name", "data list", "motet.tasks.data:list_data"),
        Verb("data show", "RECORDING", "what is in a recording", "data show reach/chewie-1", "motet.tasks.data:show"),
        Verb(
            "data fetch",
            "NAME",
            "download a recording, and check it",
            "data fetch reach/chewie-1",
            "motet.tasks.data:fetch",
        ),
        Verb(
            "simulate",
            "SYSTEM",
            "recordings of a system whose truth is known",
            "simulate SYSTEM --output data --seed 1",
            "motet.tasks.simulate:SIMULATIONS",
        ),
        Verb(
            "decode",
            "RECORDING …",
            "cross-validated decoding beside classical rivals; leaves a run",
            "decode reach/chewie-1 --target direction",
            "motet.tasks.decode:decode",
        ),
        Verb(
            "benchmark",
            "PRESET|RECORDING …",
            "every method over the same folds and seeds: tables, figures, scores",
            "benchmark reach --jobs 2",
            "motet.tasks.benchmark:benchmark",
            (
                "unseen",
                "quick --learning_curve '[0.25,0.5]'",
                "mine.npz --target state --by time --window 8 --stride 8",
            ),
        ),
        Verb(
            "sweep",
            "RECORDING …",
            "search the settings of a decoding on training trials; test the best once",
            "sweep reach/chewie-1 --target direction --tries 30 --jobs 2",
            "motet.tasks.sweep:sweep",
            ("--space '{model.width: [16, 32], training.learning_rate: {low: 1e-3, high: 1e-2, log: true}}'",),
        ),
        Verb(
            "predict",
            "RUN RECORDING",
            "predictions of a run's model for new trials",
            "predict runs/first data/subject-1.npz",
            "motet.tasks.predict:predict",
        ),
        Verb(
            "report",
            "RUN …",
            "one page of what a run found, to look at offline; of two runs, side by side",
            "report runs/decode-reach-chewie-1-direction",
            "motet.tasks.report:report",
            ("--importance",),
        ),
        Verb(
            "export",
            "RUN",
            "a run's decoder as one file that needs no motet (ONNX, torch)",
            "export runs/first --format onnx",
            "motet.tasks.export:export",
        ),
        Verb(
            "pretrain",
            "RECORDING …",
            "learn from some populations to decode others from few trials; leaves a run",
            "pretrain reach/chewie-1 reach/chewie-2 --target direction --output runs/chewie",
            "motet.tasks.pretrain:pretrain",
        ),
        Verb(
            "transfer",
            "RECORDING …",
            "decode populations never seen from few labelled trials, beside rivals",
            "transfer reach/chewie-1 reach/chewie-2 reach/mihi-1 --target direction",
            "motet.tasks.transfer:transfer",
            (
                "--across pairs",
                "--across targets --period 8 --seen_classes '[2,4]'",
                "--across time",
                "--across bins",
                "--across halves",
                "--across subsets --fractions '[0.25,0.5,1]'",
                "--across rest --known_individuals 40 --k '[3]'",
                "--k '[all]' --unlabelled '[none]' --ways '[context,fine-tune,scratch]'",
            ),
        ),
        Verb(
            "align",
            "RECORDING …",
            "who plays the role of whom in another recording; leaves a run",
            "align reach/chewie-1 reach/mihi-1 --target direction",
            "motet.tasks.align:align",
        ),
        Verb(
            "interactions train",
            "RECORDING …",
            "learn who interacts with whom where it is known; leaves a run",
            "interactions train data/gravity-2x2.npz --states '[mass]' --output runs/gravity",
            "motet.tasks.interactions:train_interactions",
        ),
        Verb(
            "interactions evaluate",
            "RUN RECORDING …",
            "score a run beside closed-form rivals, on systems of any size",
            "interactions evaluate runs/gravity test/gravity-2x2.npz test/gravity-3x3.npz",
            "motet.tasks.interactions:evaluate_interactions",
        ),
        Verb(
            "interactions recover",
            "RUN FILE",
            "who interacts in trajectories of your own, as tables and a picture",
            "interactions recover runs/gravity shoal.csv --output shoal",
            "motet.tasks.recover:recover",
        ),
        Verb(
            "forecast train",
            "RECORDING …",
            "learn how individuals move, from trajectories alone; leaves a run",
            "forecast train data/gravity-2x2.npz --objective.horizon_bins 10 --output runs/orbits",
            "motet.tasks.forecast:train_forecast",
        ),
        Verb(
            "forecast evaluate",
            "RUN RECORDING …",
            "errors of a run's forecasts by horizon, beside closed-form rivals",
            "forecast evaluate runs/orbits test/gravity-2x2.npz test/gravity-2x3.npz",
            "motet.tasks.forecast:evaluate_forecast",
        ),
        Verb(
            "forecast predict",
            "RUN FILE",
            "where individuals of your own go next, as tables and a picture",
            "forecast predict runs/orbits shoal.csv --output shoal",
            "motet.tasks.forecast_predict:predict_forecast",
        ),
        Verb(
            "doctor",
            "",
            "what is installed, what computes, where data lies, and what is wrong",
            "doctor",
            "motet.tasks.doctor:doctor",
            ("--json",),
        ),
    )
}
