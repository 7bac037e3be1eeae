"""The faults: what stands in the code, what is planted instead, and the tests that must turn red."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault.

    Attributes:
        name: what goes wrong, behind the verb or part that it is of.
        file: from the root of the project.
        stands: a text that stands in the file exactly once.
        planted: what is planted instead.
        tests: as pytest names them; at least one must fail.
    """

    name: str
    file: str
    stands: str
    planted: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "decode: rivals are fitted to the test fold",
        "src/motet/tasks/decode_fold.py",
        "        fitted = RIVALS[method].fit(train, question)",
        "        fitted = RIVALS[method].fit(test, question)",
        ("tests/tasks/test_guards.py::test_no_method_decodes_classes_that_nothing_tells",),
    ),
    Fault(
        "decode: rivals of quantities are fitted to the test fold",
        "src/motet/tasks/decode_fold.py",
        "        fitted = RIVALS[method].fit(train, question)",
        "        fitted = RIVALS[method].fit(test, question)",
        ("tests/tasks/test_guards.py::test_no_method_decodes_quantities_that_nothing_tells",),
    ),
    Fault(
        "decode: the model is trained on the test fold",
        "src/motet/tasks/decode_fold.py",
        "    estimator.fit(training_part(method, train, settings), run=part",
        "    estimator.fit(training_part(method, test, settings), run=part",
        ("tests/tasks/test_guards.py::test_no_method_decodes_classes_that_nothing_tells",),
    ),
    Fault(
        "decode: the control is not shuffled",
        "src/motet/tasks/decode_fold.py",
        "_shuffled(recording, settings.seed)) if method == CONTROL else train",
        "recording) if method == CONTROL else train",
        ("tests/tasks/test_guards.py::test_every_method_decodes_what_is_plain_and_the_control_does_not",),
    ),
    Fault(
        "decode: the control's order is no order",
        "src/motet/tasks/decode_fold.py",
        "np.random.default_rng(seed).permutation(recording.n_trials)",
        "np.arange(recording.n_trials)",
        ("tests/tasks/test_guards.py::test_every_method_decodes_what_is_plain_and_the_control_does_not",),
    ),
    Fault(
        "decode: the control is compared as a rival",
        "src/motet/tasks/decode.py",
        "{m: s for m, s in folds.items() if m != CONTROL}",
        "dict(folds)",
        ("tests/tasks/test_guards.py::test_every_method_decodes_what_is_plain_and_the_control_does_not",),
    ),
    Fault(
        "decode: the best rival is the worst",
        "src/motet/tasks/decode.py",
        "best = max(rivals, key",
        "best = min(rivals, key",
        ("tests/tasks/test_guards.py::test_every_method_decodes_what_is_plain_and_the_control_does_not",),
    ),
    Fault(
        "decode: a rival is made weaker by fewer trials",
        "src/motet/tasks/decode_fold.py",
        "        fitted = RIVALS[method].fit(train, question)",
        "        fitted = RIVALS[method].fit(train.select(range(6)), question)",
        ("tests/tasks/test_guards.py::test_every_method_decodes_what_is_plain_and_the_control_does_not",),
    ),
    Fault(
        "decode: the template reads the classes of test trials",
        "src/motet/rivals/templates.py",
        "        prediction[~bins] = np.nan\n",
        "        prediction += 0.1 * np.unique(recording.targets['side'], return_inverse=True)[1][:, None, None]\n"
        "        prediction[~bins] = np.nan\n",
        ("tests/rivals/test_templates.py::test_classes_and_quantities_of_test_trials_change_nothing",),
    ),
    Fault(
        "decode: unknown labels are scored",
        "src/motet/training/objectives/target.py",
        "    return np.asarray(observed & known.reshape(*observed.shape, -1).all(axis=-1))",
        "    return observed",
        ("tests/tasks/test_decode.py::test_trials_whose_class_is_unknown_are_neither_learned_from_nor_scored",),
    ),
    Fault(
        "decode: windows of one trial are parted",
        "src/motet/data/dataset.py",
        "of_recording = [np.unique(np.asarray(r.trial_ids), return_inverse=True)[1] for r in self.recordings]",
        "of_recording = [np.arange(r.n_trials) for r in self.recordings]",
        ("tests/data/test_dataset.py::test_no_split_parts_the_windows_of_a_trial",),
    ),
    Fault(
        "decode: no gap between train and test in time",
        "src/motet/data/dataset.py",
        "gap = recording.n_bins * recording.bin_seconds if gap_seconds is None else gap_seconds",
        "gap = 0.0",
        ("tests/data/test_dataset.py::test_folds_by_time_leave_a_gap_between_train_and_test",),
    ),
    Fault(
        "fit: statistics of values come from validation trials too",
        "src/motet/estimators/base.py",
        "        self._fit_statistics(dataset)\n",
        "        self._fit_statistics(raw)\n",
        ("tests/tasks/test_guards.py::test_statistics_come_from_the_trials_that_train_not_from_those_that_validate",),
    ),
    Fault(
        "fit: statistics of targets come from validation trials too",
        "src/motet/estimators/base.py",
        "        self._fit_statistics(dataset)\n",
        "        self._fit_statistics(raw)\n",
        ("tests/tasks/test_guards.py::test_target_statistics_come_from_the_trials_that_train",),
    ),
    Fault(
        "fit: validation trials train",
        "src/motet/estimators/base.py",
        "        train_part = self._prepared(dataset, trains=True)\n",
        "        train_part = self._prepared(raw, trains=True)\n",
        ("tests/training/test_guards.py::test_trials_that_validate_are_never_trained_on",),
    ),
    Fault(
        "fit: the last epoch is kept, not the best",
        "src/motet/training/state.py",
        "if not is_validated or row.validation_loss < lowest:",
        "if True:",
        ("tests/training/test_loop.py::test_the_weights_kept_are_those_of_the_best_validation_loss",),
    ),
    Fault(
        "fit: weights of trials are not read",
        "src/motet/training/objectives/objective.py",
        "        weight = batch.targets.get(TRIAL_WEIGHT)\n",
        "        weight = None\n",
        ("tests/estimators/test_scikit_learn.py::test_trials_of_weight_zero_teach_nothing",),
    ),
    Fault(
        "fit: the learning rate is constant",
        "src/motet/training/loop.py",
        "    if step < n_warmup:",
        "    if True:\n        return 1.0\n    if step < n_warmup:",
        ("tests/training/test_guards.py::test_the_learning_rate_rises_and_falls_to_nothing",),
    ),
    Fault(
        "fit: gradients are not clipped",
        "src/motet/training/loop.py",
        "            fabric.clip_gradients(wrapped, optimizer, max_norm=settings.gradient_clip, error_if_nonfinite=False)\n",
        "",
        ("tests/training/test_guards.py::test_no_gradient_is_longer_than_it_may_be",),
    ),
    Fault(
        "fit: weights are not averaged",
        "src/motet/training/loop.py",
        "            state.average()\n",
        "",
        ("tests/training/test_guards.py::test_the_weights_kept_are_the_running_mean_of_those_of_the_steps",),
    ),
    Fault(
        "fit: a fingerprint ignores values",
        "src/motet/training/state.py",
        '{"values": recording.values, "observed": recording.observed}',
        '{"observed": recording.observed}',
        ("tests/training/test_guards.py::test_a_fingerprint_changes_with_whatever_would_change_the_weights",),
    ),
    Fault(
        "fit: a fingerprint ignores targets",
        "src/motet/training/state.py",
        'read |= {f"target {name}": target for name, target in recording.targets.items()}',
        "pass",
        ("tests/training/test_guards.py::test_a_fingerprint_changes_with_whatever_would_change_the_weights",),
    ),
    Fault(
        "model: attention's branch does not drop out",
        "src/motet/models/layers.py",
        "x = x + self.dropout(self.attention(self.attention_norm(x), readable))",
        "x = x + self.attention(self.attention_norm(x), readable)",
        ("tests/training/test_guards.py::test_both_branches_of_a_layer_drop_out_in_training_and_neither_after",),
    ),
    Fault(
        "fit: nothing is hidden from a step",
        "src/motet/training/loop.py",
        "state.learner.objective.hide(dataset.batch(mine), generator)",
        "dataset.batch(mine)",
        ("tests/training/test_guards.py::test_individuals_are_hidden_from_every_step",),
    ),
    Fault(
        "loss: unobserved bins count",
        "src/motet/training/objectives/classify.py",
        "target = batch.targets[self.name].masked_fill(~self.is_observed(batch), -1)",
        "target = batch.targets[self.name]",
        ("tests/training/test_guards.py::test_labels_of_bins_in_which_nothing_was_observed_add_nothing_to_the_loss",),
    ),
    Fault(
        "readout: bins without anybody vote",
        "src/motet/training/objectives/objective.py",
        "weight = read[..., -1].masked_fill(~(observed | ~observed.any(dim=1, keepdim=True)), -torch.inf).softmax(dim=1)",
        "weight = read[..., -1].softmax(dim=1)",
        ("tests/training/test_objectives.py::test_padding_never_changes_a_prediction",),
    ),
    Fault(
        "model: who is not observed is read by others",
        "src/motet/models/layers.py",
        "return None if bool(observed.all()) else observed | ~observed.any(dim=-1, keepdim=True)",
        "return None",
        ("tests/models/test_eit.py::test_individuals_that_are_not_observed_change_nothing",),
    ),
    Fault(
        "model: identity goes by place",
        "src/motet/models/layers.py",
        "rows.append(known[position.clamp(min=0)])",
        "rows.append(torch.arange(len(position), device=position.device))",
        ("tests/tasks/test_guards.py::test_individuals_are_known_by_their_names_and_not_by_their_places",),
    ),
    Fault(
        "preprocess: statistics go by place",
        "src/motet/data/preprocess.py",
        "return recording, [row[individual] for individual in recording.individual_ids]",
        "return recording, list(range(recording.n_individuals))",
        ("tests/data/test_preprocess.py::test_statistics_travel_with_the_id",),
    ),
    Fault(
        "preprocess: strangers are read as others",
        "src/motet/data/preprocess.py",
        "is_stranger = ~is_known & ~is_silent & recording.observed.any(axis=(0, 2))",
        "is_stranger = np.zeros_like(is_known)",
        ("tests/tasks/test_guards.py::test_individuals_are_known_by_their_names_and_not_by_their_places",),
    ),
    Fault(
        "preprocess: padding counts in the mean",
        "src/motet/data/preprocess.py",
        "count[own] += observed.sum(axis=(0, 2))",
        "count[own] += np.ones_like(observed).sum(axis=(0, 2))",
        ("tests/data/test_preprocess.py::test_observed_training_values_get_the_moments_asked_for",),
    ),
    Fault(
        "rivals: unobserved entries are read",
        "src/motet/rivals/readings.py",
        "np.where(seen, roots, self.mean), 0.0)",
        "roots, 0.0)",
        ("tests/rivals/test_decoders.py::test_an_unobserved_individual_reads_as_its_training_mean",),
    ),
    Fault(
        "rivals: ridge reads the bin after",
        "src/motet/rivals/decoders.py",
        'Decoder("ridge", "quantity", _ridge, _BEFORE)',
        'Decoder("ridge", "quantity", _ridge, (-1, 0, 1, 2, 3))',
        ("tests/rivals/test_decoders.py::test_quantities_are_decoded_from_bins_up_to_now",),
    ),
    Fault(
        "rivals: shrinkage LDA does not shrink",
        "src/motet/rivals/decoders.py",
        'LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")',
        'LinearDiscriminantAnalysis(solver="lsqr")',
        ("tests/rivals/test_decoders.py::test_lda_reads_all_bins_of_a_window_as_one_vector",),
    ),
    Fault(
        "rivals: the template is not cross-fitted",
        "src/motet/rivals/templates.py",
        "            parts.append((held_out, others, others",
        "            parts.append((held_out, template, template",
        ("tests/rivals/test_templates.py::test_what_is_tuned_is_tuned_on_trials_that_were_not_fitted",),
    ),
    Fault(
        "predict: trials are not cut as the run cut them",
        "src/motet/tasks/predict.py",
        "    return cut_trials(recording, level, **cut), cut",
        "    return recording, cut",
        ("tests/tasks/test_decode.py::test_predict_cuts_trials_as_the_run_did",),
    ),
    Fault(
        "predict: what was not observed is predicted",
        "src/motet/estimators/decoders.py",
        "                prediction[~is_observed.numpy()] = np.nan\n",
        "",
        ("tests/estimators/test_arrays.py::test_a_trial_in_which_nothing_was_observed_is_not_predicted",),
    ),
    Fault(
        "interactions evaluate: the control is scored on the true truth",
        "src/motet/tasks/interactions_evaluate.py",
        "other = with_other_truth(truth, np.random.default_rng(0))",
        "other = truth",
        ("tests/tasks/test_guards_of_systems.py::test_the_control_is_what_a_model_that_knows_scores_on_another_truth",),
    ),
    Fault(
        "interactions evaluate: trials of training are tested",
        "src/motet/tasks/interactions_evaluate.py",
        "        if digest(recording) in trained:\n",
        "        if False:\n",
        (
            "tests/tasks/test_interactions.py::test_training_trials_are_not_tested_on_nor_learned_from_by_rules_if_tested_on",
        ),
    ),
    Fault(
        "interactions evaluate: rules learn from test trials",
        "src/motet/tasks/interactions_evaluate.py",
        "        if digest(recording) in tested:\n",
        "        if False:\n",
        (
            "tests/tasks/test_interactions.py::test_training_trials_are_not_tested_on_nor_learned_from_by_rules_if_tested_on",
        ),
    ),
    Fault(
        "interactions evaluate: rules learn from fewer trials than asked",
        "src/motet/tasks/interactions_evaluate.py",
        "slice(0, settings.rival_trials)",
        "slice(0, 3)",
        ("tests/tasks/test_interactions.py::test_rules_learn_from_no_more_trials_than_asked",),
    ),
    Fault(
        "interactions evaluate: a rule is scored by the model's answer",
        "src/motet/tasks/interactions_evaluate.py",
        '            predictions[name] = rival.fitted.predict(PopulationDataset(recording))["log_probability"]\n',
        "            predictions[name] = predictions[model]\n",
        ("tests/tasks/test_guards_of_systems.py::test_every_rival_is_scored_by_its_own_answers",),
    ),
    Fault(
        "interactions evaluate: directed rules are made symmetric",
        "src/motet/rivals/pairs.py",
        '{"features": question.features, "is_directed": is_directed, **chosen}',
        '{"features": question.features, "is_directed": False, **chosen}',
        ("tests/rivals/test_pairs.py::test_a_directed_truth_is_scored_as_directed",),
    ),
    Fault(
        "interactions train: validation may be what is trained on",
        "src/motet/tasks/interactions.py",
        "        if digest(recording) in trained:\n",
        "        if False:\n",
        ("tests/tasks/test_interactions.py::test_files_may_validate_in_place_of_a_part",),
    ),
    Fault(
        "interactions: absent individuals are pairs",
        "src/motet/data/pairs.py",
        "    is_here = observed.any(-1)\n",
        "    is_here = observed.any(-1) | True\n",
        ("tests/estimators/test_interactions.py::test_what_is_not_there_is_not_a_number",),
    ),
    Fault(
        "forecast evaluate: the model sees the future",
        "src/motet/tasks/forecast_evaluate.py",
        "    context = windows.select(bins=slice(0, forecaster.objective.context_bins))\n",
        "    context = windows\n",
        ("tests/tasks/test_guards_of_systems.py::test_no_forecast_sees_more_than_the_context",),
    ),
    Fault(
        "forecast evaluate: trials of training are tested",
        "src/motet/tasks/forecast_evaluate.py",
        "        if digest(recording) in trained:\n",
        "        if False:\n",
        ("tests/tasks/test_forecast.py::test_nothing_is_tested_on_what_was_learned",),
    ),
    Fault(
        "forecast evaluate: rivals choose on test trials",
        "src/motet/tasks/forecast_evaluate.py",
        "        if digest(recording) in tested:\n",
        "        if False:\n",
        ("tests/tasks/test_forecast.py::test_nothing_is_tested_on_what_was_learned",),
    ),
    Fault(
        "forecast: windows of one trial are parted",
        "src/motet/data/dataset.py",
        "of_recording = [np.unique(np.asarray(r.trial_ids), return_inverse=True)[1] for r in self.recordings]",
        "of_recording = [np.arange(r.n_trials) for r in self.recordings]",
        ("tests/estimators/test_forecaster.py::test_windows_of_one_trial_are_never_parted",),
    ),
    Fault(
        "forecast train: the noise is on the future too",
        "src/motet/estimators/forecaster.py",
        "before = values[:, :, context]",
        "before = values",
        ("tests/estimators/test_forecaster.py::test_contexts_of_training_windows_are_noisy_and_futures_are_not",),
    ),
    Fault(
        "tables: the correction for overlapping folds is left out",
        "src/motet/statistics.py",
        "(1 / n_folds + overlap)",
        "(1 / n_folds)",
        ("tests/test_statistics.py::test_the_correction_widens_the_interval_by_the_closed_form",),
    ),
    Fault(
        "tables: p is not corrected for the number of rows",
        "src/motet/statistics.py",
        "corrected = dict(zip(tested, holm(list(tested.values())), strict=True))",
        "corrected = dict(tested)",
        ("tests/test_statistics.py::test_a_table_compares_every_other_row_with_the_reference_on_the_same_folds",),
    ),
    Fault(
        "tables: no spread is certainty",
        "src/motet/statistics.py",
        "if n_folds < FEWEST_FOLDS or np.ptp(folds) <= 1e-12 * max(1.0, float(np.abs(folds).max())):",
        "if n_folds < FEWEST_FOLDS:",
        ("tests/test_statistics.py::test_no_spread_is_no_certainty",),
    ),
    Fault(
        "tables: intervals leave the bounds of the score",
        "src/motet/statistics.py",
        "return min(max(low, bounds[0]), mean), max(min(high, bounds[1]), mean)",
        "return low, high",
        ("tests/test_statistics.py::test_intervals_stay_inside_the_bounds_of_the_score",),
    ),
    Fault(
        "files: a changed weight is read",
        "src/motet/training/run.py",
        'described["digest"] != _digest(tensors, described["about"])',
        "False",
        ("tests/training/test_damage.py::test_any_byte_that_is_changed_and_any_end_that_is_lost_is_noticed",),
    ),
    Fault(
        "files: an option may name a class",
        "src/motet/plain.py",
        '{"class_path", "init_args"} & options.keys()',
        "False",
        ("tests/test_cli.py::test_a_file_of_options_is_refused_in_one_line_and_imports_nothing",),
    ),
    Fault(
        "files: a pickle may build anything",
        "src/motet/data/readers/safe_pickle.py",
        "math.prod(shape) > numbers.size",
        "False",
        ("tests/data/readers/test_safe_pickle.py::test_a_program_that_asks_for_more_than_data_is_refused",),
    ),
    Fault(
        "interactions train: validation trials train",
        "src/motet/estimators/base.py",
        "            dataset, held_out = self._split(dataset)\n",
        "            _, held_out = self._split(dataset)\n",
        ("tests/estimators/test_interactions.py::test_the_part_of_trials_that_validates_is_not_trained_on",),
    ),
    Fault(
        "interactions recover: source and target change places",
        "src/motet/tasks/interactions_recover.py",
        '{"source": ids[b], "target": ids[a]}',
        '{"source": ids[a], "target": ids[b]}',
        ("tests/tasks/test_interactions.py::test_directed_graphs_tell_both_orders",),
    ),
)
